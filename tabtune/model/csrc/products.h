/* C (M, N) = A (M, K) B, or C += A B, in bfloat16 with sums in float32.

   M and N are multiples of 16, K of 32. A row of A is `lda` numbers long. B is packed, and `deep`
   rows deep; where K is smaller, its first rows count. There are two ways, chosen by
   each call: by AVX-512's instruction for pairs, or by the matrix unit (AMX). */
#pragma once
#include "matrix_unit.h"
#include "packing.h"
#include "vectors_begin.h"

/* 8 rows by 16 * W columns: enough sums at once to keep the processor's pipes full. */
INLINE void product_piece(const bf16 *A, long lda, const bf16 *B, long next, long K, float *C,
                          long ldc, int add, const int W) {
  __m512 c[8][2];
  for (int i = 0; i < 8; i++)
    for (int j = 0; j < W; j++) c[i][j] = add ? load(C + i * ldc + 16 * j) : zero();
  for (long k = 0; k < K; k += 2) {
    __m512i b[2];
    for (int j = 0; j < W; j++) b[j] = _mm512_loadu_si512(B + j * next + 16 * k);
    for (int i = 0; i < 8; i++) {
      int32_t two;
      memcpy(&two, A + i * lda + k, 4);
      __m512bh a = (__m512bh)_mm512_set1_epi32(two);
      for (int j = 0; j < W; j++) c[i][j] = _mm512_dpbf16_ps(c[i][j], a, (__m512bh)b[j]);
    }
  }
  for (int i = 0; i < 8; i++)
    for (int j = 0; j < W; j++) store(C + i * ldc + 16 * j, c[i][j]);
}

static void product_avx512(const bf16 *A, long lda, long M, const bf16 *B, long deep, long K,
                           long N, float *C, long ldc, int add) {
  for (long n = 0; n < N; n += 32)
    for (long m = 0; m < M; m += 8) {
      const bf16 *a = A + m * lda, *b = B + n * deep;
      float *c = C + m * ldc + n;
      if (n + 16 < N)
        product_piece(a, lda, b, 16 * deep, K, c, ldc, add, 2);
      else
        product_piece(a, lda, b, 0, K, c, ldc, add, 1);
    }
}

enum { NO_KERNEL, WITH_AVX512, WITH_AMX }; /* what a call may use: its `instructions` */

INLINE void unit_on(long instructions) {
  if (instructions == WITH_AMX) matrix_unit_on();
}
INLINE void unit_off(long instructions) {
  if (instructions == WITH_AMX) matrix_unit_off();
}
static void product(long instructions, const bf16 *A, long lda, long M, const bf16 *B, long deep,
                    long K, long N, float *C, long ldc, int add) {
  if (instructions == WITH_AMX)
    product_amx(A, lda, M, B, deep, K, N, C, ldc, add);
  else
    product_avx512(A, lda, M, B, deep, K, N, C, ldc, add);
}

#include "vectors_end.h"
