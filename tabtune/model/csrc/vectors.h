/* Sixteen numbers at a time: loading, storing, bfloat16, powers of two, GELU. */
#pragma once
#include "vectors_begin.h"

typedef uint16_t bf16;
#define INLINE static inline __attribute__((always_inline))

INLINE long up16(long n) { return (n + 15) / 16 * 16; }
INLINE long up32(long n) { return (n + 31) / 32 * 32; }
INLINE long at_most(long n, long limit) { return n < limit ? n : limit; }

INLINE __m512 spread(float x) { return _mm512_set1_ps(x); }
INLINE __m512 zero(void) { return _mm512_setzero_ps(); }
INLINE __m512 load(const float *from) { return _mm512_loadu_ps(from); }
INLINE void store(float *to, __m512 x) { _mm512_storeu_ps(to, x); }
INLINE float total(__m512 x) { return _mm512_reduce_add_ps(x); }

/* The first `n` of sixteen lanes; the others read as 0 and are not written. */
INLINE __mmask16 first(long n) { return n >= 16 ? 0xffff : n > 0 ? (1 << n) - 1 : 0; }
INLINE __m512 load_first(const float *from, long n) {
  return _mm512_maskz_loadu_ps(first(n), from);
}
INLINE void store_first(float *to, long n, __m512 x) { _mm512_mask_storeu_ps(to, first(n), x); }

/* Rounded to bfloat16: sixteen numbers, or two times sixteen one after the other. */
INLINE void store_bf16(bf16 *to, __m512 x) {
  _mm256_storeu_si256((__m256i *)to, (__m256i)_mm512_cvtneps_pbh(x));
}
INLINE __m512i join_bf16(__m512 a, __m512 b) { return (__m512i)_mm512_cvtne2ps_pbh(b, a); }

/* Two rows of sixteen numbers as sixteen pairs of bfloat16. A bfloat16 is the upper half of a
   float32: half of the lower half is added, and the rest is cut off. */
INLINE __m512i pair_bf16(__m512 a, __m512 b) {
  __m512i half = _mm512_set1_epi32(0x8000), upper = _mm512_set1_epi32(0xffff0000);
  __m512i low = _mm512_srli_epi32(_mm512_add_epi32((__m512i)a, half), 16);
  return _mm512_ternarylogic_epi32(low, _mm512_add_epi32((__m512i)b, half), upper, 0xf8);
}

/* 2^x for x < 100. Adding 1.5 * 2^23 rounds the exponent and leaves its whole part in the lowest
   bits, from where it is shifted into place; a polynomial of degree 5 (relative error 9e-8) does
   the rest. Below 2^-80 the result stays 2^-80: numbers near the smallest are slow. */
#define LOG2E 1.44269504f
INLINE __m512 exp2_16(__m512 x) {
  x = _mm512_max_ps(x, spread(-80.f));
  __m512 magic = spread(12582912.f), shifted = _mm512_add_ps(x, magic);
  __m512 r = _mm512_sub_ps(x, _mm512_sub_ps(shifted, magic)), p = spread(.00132647366f);
  p = _mm512_fmadd_ps(p, r, spread(.00967151299f));
  p = _mm512_fmadd_ps(p, r, spread(.0555073358f));
  p = _mm512_fmadd_ps(p, r, spread(.240222424f));
  p = _mm512_fmadd_ps(p, r, spread(.693147004f));
  p = _mm512_fmadd_ps(p, r, spread(1.f));
  return (__m512)_mm512_add_epi32((__m512i)p, _mm512_slli_epi32((__m512i)shifted, 23));
}

/* GELU is x cdf(x), its slope cdf(x) + x density(x), of the standard normal distribution. The
   formula for the cdf has one exponential, which is also the density (Abramowitz and Stegun,
   7.1.26; wrong by 1.5e-7 at most). */
INLINE __m512 gelu(__m512 x, __m512 *slope) {
  __m512 e = exp2_16(_mm512_mul_ps(_mm512_mul_ps(x, x), spread(-.5f * LOG2E)));
  __m512 y = _mm512_fmadd_ps(_mm512_abs_ps(x), spread(.3275911f * .70710678f), spread(1.f));
  __m512 t = _mm512_rcp14_ps(y), p = spread(1.061405429f);
  t = _mm512_mul_ps(t, _mm512_fnmadd_ps(y, t, spread(2.f))); /* 1 / y, by one step of Newton's */
  p = _mm512_fmadd_ps(p, t, spread(-1.453152027f));
  p = _mm512_fmadd_ps(p, t, spread(1.421413741f));
  p = _mm512_fmadd_ps(p, t, spread(-.284496736f));
  p = _mm512_fmadd_ps(p, t, spread(.254829592f));
  __m512 tail = _mm512_mul_ps(_mm512_mul_ps(_mm512_mul_ps(p, t), e), spread(.5f));
  __mmask16 positive = _mm512_cmp_ps_mask(x, zero(), _CMP_GE_OQ);
  __m512 cdf = _mm512_mask_sub_ps(tail, positive, spread(1.f), tail);
  *slope = _mm512_fmadd_ps(x, _mm512_mul_ps(e, spread(.39894228f)), cdf);
  return _mm512_mul_ps(x, cdf);
}

#include "vectors_end.h"
