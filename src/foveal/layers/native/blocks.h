/* Weights in blocks, as they lie in GGUF files, or of our own: how a group of 32 is unpacked. All kernels use the functions
 * of this file.
 *
 * A weight of a group is w[i] scale factor - minimum min_factor[i / 16], with half precision `scale` and `minimum`. Where 16
 * weights have a factor of their own (Q3_K, Q6_K), it is in w already: such a form rounds rows to 14 bits, so that no sum of
 * a group leaves int32.
 *
 * Four forms are for other quantised files (layers/linear/own_blocks.py makes them). The first three begin with a float32 scale.
 *   F8: floats of 8 bits (e4m3), the largest of a group near 448, so that steps of 1/8 are fine enough.
 *   E2M1: floats of 4 bits, as in NVFP4 and MXFP4; two factors, of 16 each.
 *   NF4: places in bitsandbytes' table.
 *   U4: half precision scale, a zero point, and numbers of 4 bits without a sign.
 */
#pragma once
#include "quantised.h"

typedef struct {
    uint16_t scale, minimum;
    int32_t factor, min_factor[2];
    float own_scale; /* instead of the others, where the form has one */
} Group;

#pragma GCC diagnostic ignored "-Wpsabi" /* everything here is inlined, so that no vector is passed to a function */
#define INLINE static inline __attribute__((always_inline))

/* --- of a form ------------------------------------------------------------------------------------------------------ */

INLINE int64_t block_bytes(int64_t form) {
    switch (form) {
        case Q4_0: case IQ4_NL: return 18;
        case Q4_1: case NF4: case U4: return 20;
        case Q5_0: case E2M1: return 22;
        case Q5_1: return 24;
        case Q8_0: return 34;
        case F8: return 36;
        case Q2_K: return 84;
        case Q3_K: return 110;
        case IQ4_XS: return 136;
        case Q4_K: return 144;
        case Q5_K: return 176;
        default: return 210; /* Q6_K */
    }
}

INLINE int64_t groups_of_block(int64_t form) {
    return form == Q2_K || form == Q3_K || form == Q4_K || form == Q5_K || form == Q6_K || form == IQ4_XS ? 8 : 1;
}

/* Minimums of a group: none, one, or one for each half. */
INLINE int minima_of(int64_t form) {
    return form == Q2_K ? 2 : form == Q4_1 || form == Q5_1 || form == Q4_K || form == Q5_K ? 1 : 0;
}

INLINE int has_own_scale(int64_t form) { return form == F8 || form == E2M1 || form == NF4; }

INLINE int64_t row_bytes(const Quantised *m) { return m->in / GROUP / groups_of_block(m->form) * block_bytes(m->form); }

/* --- bytes ---------------------------------------------------------------------------------------------------------- */

typedef uint8_t bytes16 __attribute__((vector_size(16)));
typedef uint8_t bytes32 __attribute__((vector_size(32)));
typedef int8_t signed16 __attribute__((vector_size(16)));
typedef int8_t signed32 __attribute__((vector_size(32)));
typedef int16_t shorts16 __attribute__((vector_size(32)));
typedef int16_t shorts32 __attribute__((vector_size(64)));

INLINE uint16_t half_at(const uint8_t *p) {
    uint16_t half;
    memcpy(&half, p, 2);
    return half;
}

INLINE bytes32 bytes_at(const uint8_t *p) {
    bytes32 bytes;
    memcpy(&bytes, p, 32);
    return bytes;
}

/* 16 bytes to 32 numbers of 4 bits: the low ones first. */
INLINE bytes32 nibbles_at(const uint8_t *p) {
#if defined(__AVX2__) /* through memory, a load would wait for two stores */
    const __m128i pairs = _mm_loadu_si128((const void *)p);
    const __m256i both = _mm256_inserti128_si256(_mm256_castsi128_si256(pairs), _mm_srli_epi16(pairs, 4), 1);
    return (bytes32)_mm256_and_si256(both, _mm256_set1_epi8(15));
#else
    bytes16 pairs, apart[2];
    memcpy(&pairs, p, 16);
    apart[0] = pairs & 15;
    apart[1] = pairs >> 4;
    bytes32 both;
    memcpy(&both, apart, 32);
    return both;
#endif
}

/* 32 bits, the lowest first, as the fifth bits of 32 numbers. */
INLINE bytes32 fifth_bits_at(const uint8_t *p) {
    static const bytes32 mask = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128,
                                 1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
    bytes32 bits;
    uint8_t *each = (uint8_t *)&bits;
    for (int i = 0; i < 32; i++) each[i] = p[i / 8];
    return (bytes32)((bits & mask) != 0) & 16;
}

static const int8_t OF_IQ4[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
static const int8_t OF_E2M1[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12}; /* halves */
/* NF4's numbers times 5039, which rounds them least, in two bytes. */
static const int8_t NF4_HIGH[16] = {-20, -14, -11, -8, -6, -4, -2, 0, 1, 3, 4, 6, 8, 11, 14, 19};
static const int8_t NF4_LOW[16] = {81, 76, -86, 58, 103, 93, 53, 0, -111, 43, -40, -89, -83, 19, 59, -81};

/* 32 numbers of 4 bits as places in a table. */
INLINE signed32 in_table(const int8_t table[16], bytes32 places) {
    signed32 found;
#if defined(__AVX2__)
    const __m256i both = _mm256_broadcastsi128_si256(_mm_loadu_si128((const void *)table));
    found = (signed32)_mm256_shuffle_epi8(both, (__m256i)places);
#else
    for (int i = 0; i < 32; i++) found[i] = table[places[i]];
#endif
    return found;
}

INLINE void put(int16_t w[GROUP], signed32 numbers) {
    const shorts32 wide = __builtin_convertvector(numbers, shorts32);
    memcpy(w, &wide, sizeof wide);
}

/* Numbers whose halves have factors of their own. */
INLINE void put_scaled(int16_t w[GROUP], signed32 numbers, int first, int second) {
    signed16 halves[2];
    memcpy(halves, &numbers, 32);
    const shorts16 scaled[2] = {
        __builtin_convertvector(halves[0], shorts16) * (int16_t)first, __builtin_convertvector(halves[1], shorts16) * (int16_t)second};
    memcpy(w, scaled, sizeof scaled);
}

/* Numbers of two bytes. */
INLINE void put_both(int16_t w[GROUP], signed32 high, bytes32 low) {
    const shorts32 wide = __builtin_convertvector(high, shorts32) * 256 + __builtin_convertvector(low, shorts32);
    memcpy(w, &wide, sizeof wide);
}

/* Floats of 8 bits as multiples of 1/8, rounded, halves to even ones: up to 3584. */
INLINE void put_floats(int16_t w[GROUP], const uint8_t *codes) {
#if defined(__AVX2__) && defined(__F16C__) /* the same bits are a half precision number's, 256 times smaller */
    for (int i = 0; i < GROUP; i += 16) {
        const __m256i bits = _mm256_cvtepu8_epi16(_mm_loadu_si128((const void *)(codes + i)));
        const __m256i sign = _mm256_slli_epi16(_mm256_and_si256(bits, _mm256_set1_epi16(128)), 8);
        const __m256i half = _mm256_or_si256(sign, _mm256_slli_epi16(_mm256_and_si256(bits, _mm256_set1_epi16(127)), 7));
        const __m256 steps = _mm256_set1_ps(256 * 8);
        const __m256 first = _mm256_mul_ps(_mm256_cvtph_ps(_mm256_castsi256_si128(half)), steps);
        const __m256 second = _mm256_mul_ps(_mm256_cvtph_ps(_mm256_extracti128_si256(half, 1)), steps);
        const __m256i both = _mm256_packs_epi32(_mm256_cvtps_epi32(first), _mm256_cvtps_epi32(second));
        _mm256_storeu_si256((__m256i *)(w + i), _mm256_permute4x64_epi64(both, 0xd8));
    }
#else
    for (int i = 0; i < GROUP; i++) {
        const int exponent = codes[i] >> 3 & 15, digits = (codes[i] & 7) | (exponent ? 8 : 0);
        const int exact = digits << (exponent ? exponent - 1 : 0), magnitude = (exact + 31 + (exact >> 6 & 1)) >> 6;
        w[i] = (int16_t)(codes[i] & 128 ? -magnitude : magnitude);
    }
#endif
}

/* --- the forms ------------------------------------------------------------------------------------------------------ */

/* Q4_K and Q5_K: 6 bits each of a factor and a minimum's, for 8 groups, in 12 bytes. */
INLINE void factors_at(const uint8_t *p, int64_t g, Group *group) {
    if (g < 4) {
        group->factor = p[g] & 63;
        group->min_factor[0] = p[g + 4] & 63;
    } else {
        group->factor = (p[g + 4] & 15) | (p[g - 4] >> 6) << 4;
        group->min_factor[0] = (p[g + 4] >> 4) | (p[g] >> 6) << 4;
    }
}

/* Q3_K: 6 bits each for 16 halves of groups, in 12 bytes. */
INLINE int factor_at(const uint8_t *p, int64_t half) {
    const int low = p[half % 8] >> (half / 8 * 4) & 15, high = p[8 + half % 4] >> (half / 4 * 2) & 3;
    return (low | high << 4) - 32;
}

/* Group `g` of a block: its numbers to w. Called with a constant form. */
INLINE Group unpack_group(const uint8_t *block, const int64_t form, int64_t g, int16_t w[GROUP]) {
    Group group = {.scale = half_at(block), .minimum = half_at(block + 2), .factor = 1, .min_factor = {-1, -1}};
    const int64_t n = g / 4; /* of the two halves of a block of 256 */
    if (has_own_scale(form)) memcpy(&group.own_scale, block, sizeof group.own_scale);
    switch (form) {
        case Q8_0: put(w, (signed32)bytes_at(block + 2)); break;
        case Q4_0: put(w, (signed32)(nibbles_at(block + 2) - 8)); break;
        case Q4_1: put(w, (signed32)nibbles_at(block + 4)); break;
        case Q5_0: put(w, (signed32)((nibbles_at(block + 6) | fifth_bits_at(block + 2)) - 16)); break;
        case Q5_1: put(w, (signed32)(nibbles_at(block + 8) | fifth_bits_at(block + 4))); break;
        case IQ4_NL: put(w, in_table(OF_IQ4, nibbles_at(block + 2))); break;
        case Q4_K:
            factors_at(block + 4, g, &group);
            put(w, (signed32)(bytes_at(block + 16 + g / 2 * 32) >> (uint8_t)(g % 2 * 4) & 15));
            break;
        case Q5_K: {
            factors_at(block + 4, g, &group);
            const bytes32 fifth = (bytes_at(block + 16) >> (uint8_t)g & 1) << 4;
            put(w, (signed32)((bytes_at(block + 48 + g / 2 * 32) >> (uint8_t)(g % 2 * 4) & 15) | fifth));
            break;
        }
        case Q6_K: {
            const int8_t *factors = (const int8_t *)block + 192 + 2 * g;
            const bytes32 low = bytes_at(block + n * 64 + g % 2 * 32) >> (uint8_t)(g % 4 / 2 * 4) & 15;
            const bytes32 high = (bytes_at(block + 128 + n * 32) >> (uint8_t)(g % 4 * 2) & 3) << 4;
            put_scaled(w, (signed32)((low | high) - 32), factors[0], factors[1]);
            group.scale = half_at(block + 208);
            break;
        }
        case Q3_K: {
            const bytes32 low = bytes_at(block + 32 + n * 32) >> (uint8_t)(g % 4 * 2) & 3;
            const bytes32 high = (bytes_at(block) >> (uint8_t)g & 1) << 2; /* set: not 4 less */
            put_scaled(w, (signed32)((low | high) - 4), factor_at(block + 96, 2 * g), factor_at(block + 96, 2 * g + 1));
            group.scale = half_at(block + 108);
            break;
        }
        case Q2_K: {
            const int first = block[2 * g], second = block[2 * g + 1];
            put_scaled(w, (signed32)(bytes_at(block + 16 + n * 32) >> (uint8_t)(g % 4 * 2) & 3), first & 15, second & 15);
            group.scale = half_at(block + 80);
            group.minimum = half_at(block + 82);
            group.min_factor[0] = first >> 4;
            group.min_factor[1] = second >> 4;
            break;
        }
        case IQ4_XS: {
            const int low = block[4 + g / 2] >> (g % 2 * 4) & 15, high = half_at(block + 2) >> (2 * g) & 3;
            group.factor = (low | high << 4) - 32;
            put(w, in_table(OF_IQ4, nibbles_at(block + 8 + g * 16)));
            break;
        }
        case F8: put_floats(w, block + 4); break;
        case E2M1: put_scaled(w, in_table(OF_E2M1, nibbles_at(block + 6)), block[4], block[5]); break;
        case NF4: {
            const bytes32 places = nibbles_at(block + 4);
            put_both(w, in_table(NF4_HIGH, places), (bytes32)in_table(NF4_LOW, places));
            break;
        }
        case U4: put(w, (signed32)(nibbles_at(block + 4) - block[2])); break;
    }
    return group;
}

/* The sum of numbers of a rounded row whose weights share a minimum. */
INLINE float sum_of_row(const int16_t *x, const int count) {
    int32_t sum = 0;
    for (int i = 0; i < count; i++) sum += x[i];
    return (float)sum;
}

/* Calls DO(form) with a constant. */
#define WITH_FORM(form, DO)                                                                                            \
    switch (form) {                                                                                                    \
        case Q4_0: DO(Q4_0); break;                                                                                    \
        case Q8_0: DO(Q8_0); break;                                                                                    \
        case Q4_1: DO(Q4_1); break;                                                                                    \
        case Q5_0: DO(Q5_0); break;                                                                                    \
        case Q5_1: DO(Q5_1); break;                                                                                    \
        case Q2_K: DO(Q2_K); break;                                                                                    \
        case Q3_K: DO(Q3_K); break;                                                                                    \
        case Q4_K: DO(Q4_K); break;                                                                                    \
        case Q5_K: DO(Q5_K); break;                                                                                    \
        case Q6_K: DO(Q6_K); break;                                                                                    \
        case IQ4_NL: DO(IQ4_NL); break;                                                                                \
        case IQ4_XS: DO(IQ4_XS); break;                                                                                \
        case F8: DO(F8); break;                                                                                        \
        case E2M1: DO(E2M1); break;                                                                                    \
        case NF4: DO(NF4); break;                                                                                      \
        case U4: DO(U4); break;                                                                                        \
    }
