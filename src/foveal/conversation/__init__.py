"""Text to tokens and back: messages -> template -> token ids with image spans; generated tokens -> text."""
