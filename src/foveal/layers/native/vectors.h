/* Vectors of floats and of integers, of the widest kind that the build's CPU has. */
#pragma once

#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__)
#define LANES 16
#elif defined(__AVX2__)
#define LANES 8
#else
#define LANES 4
#endif
#if defined(__SSE2__)
#include <immintrin.h>
#endif
#define SHORTS (2 * LANES) /* int16 in a vector */

typedef float vec __attribute__((vector_size(LANES * 4)));
typedef float vec_u __attribute__((vector_size(LANES * 4), aligned(4), may_alias));
typedef int32_t ivec __attribute__((vector_size(LANES * 4)));
typedef int32_t ivec_u __attribute__((vector_size(LANES * 4), aligned(4), may_alias));
typedef int16_t svec __attribute__((vector_size(LANES * 4)));
typedef int16_t svec_u __attribute__((vector_size(LANES * 4), aligned(2), may_alias));

static inline vec load(const float *p) { return *(const vec_u *)p; }
static inline void store(float *p, vec v) { *(vec_u *)p = v; }
static inline vec chosen(ivec is, vec yes, vec no) { return (vec)((is & (ivec)yes) | (~is & (ivec)no)); }
static inline vec floats(ivec v) { return __builtin_convertvector(v, vec); }

static inline float sum(vec v) {
#if defined(__AVX512F__)
    return _mm512_reduce_add_ps((__m512)v);
#elif defined(__AVX2__)
    __m128 four = _mm_add_ps(_mm256_castps256_ps128((__m256)v), _mm256_extractf128_ps((__m256)v, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
#else
    float total = 0;
    for (int i = 0; i < LANES; i++) total += v[i];
    return total;
#endif
}

/* --- integers --- */

static inline svec widened(const int8_t *p) { /* SHORTS of them */
#if defined(__AVX512BW__)
    return (svec)_mm512_cvtepi8_epi16(_mm256_loadu_si256((const void *)p));
#elif defined(__AVX2__)
    return (svec)_mm256_cvtepi8_epi16(_mm_loadu_si128((const void *)p));
#else
    svec wide;
    for (int i = 0; i < SHORTS; i++) wide[i] = p[i];
    return wide;
#endif
}

/* sums[i] + a[2i] b[2i] + a[2i + 1] b[2i + 1] */
static inline ivec add_pairs(ivec sums, svec a, svec b) {
#if defined(__AVX512VNNI__)
    return (ivec)_mm512_dpwssd_epi32((__m512i)sums, (__m512i)a, (__m512i)b);
#elif defined(__AVX512BW__)
    return sums + (ivec)_mm512_madd_epi16((__m512i)a, (__m512i)b);
#elif defined(__AVX2__)
    return sums + (ivec)_mm256_madd_epi16((__m256i)a, (__m256i)b);
#elif defined(__SSE2__)
    return sums + (ivec)_mm_madd_epi16((__m128i)a, (__m128i)b);
#else
    for (int i = 0; i < LANES; i++) sums[i] += (int32_t)a[2 * i] * b[2 * i] + (int32_t)a[2 * i + 1] * b[2 * i + 1];
    return sums;
#endif
}

#if defined(__AVX2__)
static inline __m256i sums_of_eight(const __m256i *v) {
    __m256i left = _mm256_hadd_epi32(_mm256_hadd_epi32(v[0], v[1]), _mm256_hadd_epi32(v[2], v[3]));
    __m256i right = _mm256_hadd_epi32(_mm256_hadd_epi32(v[4], v[5]), _mm256_hadd_epi32(v[6], v[7]));
    return _mm256_add_epi32(_mm256_permute2x128_si256(left, right, 0x20), _mm256_permute2x128_si256(left, right, 0x31));
}
#endif

/* Lane i: the sum of v[i]'s lanes. */
static inline ivec sums_of(const ivec v[LANES]) {
#if defined(__AVX512F__)
    __m256i halves[LANES];
    for (int i = 0; i < LANES; i++)
        halves[i] = _mm256_add_epi32(_mm512_castsi512_si256((__m512i)v[i]), _mm512_extracti64x4_epi64((__m512i)v[i], 1));
    __m512i low = _mm512_castsi256_si512(sums_of_eight(halves));
    return (ivec)_mm512_inserti64x4(low, sums_of_eight(halves + 8), 1);
#elif defined(__AVX2__)
    return (ivec)sums_of_eight((const __m256i *)v);
#else
    ivec totals = {0};
    for (int i = 0; i < LANES; i++)
        for (int j = 0; j < LANES; j++) totals[i] += v[i][j];
    return totals;
#endif
}

/* Lane i: the sum of v[i]'s lanes. */
static inline vec float_sums_of(const vec v[LANES]) {
#if defined(__AVX2__) && !defined(__AVX512F__)
    const __m256 *w = (const __m256 *)v;
    __m256 left = _mm256_hadd_ps(_mm256_hadd_ps(w[0], w[1]), _mm256_hadd_ps(w[2], w[3]));
    __m256 right = _mm256_hadd_ps(_mm256_hadd_ps(w[4], w[5]), _mm256_hadd_ps(w[6], w[7]));
    return (vec)_mm256_add_ps(_mm256_permute2f128_ps(left, right, 0x20), _mm256_permute2f128_ps(left, right, 0x31));
#else
    vec totals = {0};
    for (int i = 0; i < LANES; i++) totals[i] = sum(v[i]);
    return totals;
#endif
}

/* --- functions --- */

/* e^x for x <= 0, to 2 units in the last place: 2^n of the whole part, a polynomial of the rest (Cephes' coefficients). */
static inline vec exp_of(vec x) {
    const vec lowest = (vec){0} - 87.0f;
    x = chosen(x < lowest, lowest, x);
    vec scaled = x * 1.44269504f;
    ivec whole = __builtin_convertvector(scaled - 0.5f, ivec); /* towards zero, so that the rest is within +-0.5 */
    vec n = floats(whole);
    vec r = x - n * 0.693359375f + n * 2.12194440e-4f;
    vec p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    return p * (vec)((whole + 127) << 23);
}

static inline vec larger_of(vec a, vec b) {
#if defined(__AVX512F__)
    return (vec)_mm512_max_ps((__m512)a, (__m512)b);
#elif defined(__AVX2__)
    return (vec)_mm256_max_ps((__m256)a, (__m256)b);
#else
    const ivec is_larger = a > b;
    return (vec)((is_larger & (ivec)a) | (~is_larger & (ivec)b));
#endif
}

static inline float largest_lane(vec v) {
#if defined(__AVX512F__)
    return _mm512_reduce_max_ps((__m512)v);
#elif defined(__AVX2__)
    __m128 four = _mm_max_ps(_mm256_castps256_ps128((__m256)v), _mm256_extractf128_ps((__m256)v, 1));
    __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
#else
    float found = v[0];
    for (int i = 1; i < LANES; i++) found = v[i] > found ? v[i] : found;
    return found;
#endif
}
