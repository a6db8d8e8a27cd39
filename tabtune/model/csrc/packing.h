/* Factors of a product in the order in which it reads them.

   A left factor is stored row by row, in bfloat16. A right factor is packed into panels of 32 rows
   by 16 columns, 512 numbers each, in which two rows are interleaved: the processor multiplies
   pairs. The panels of sixteen columns follow one another. */
#pragma once
#include "vectors.h"
#include "vectors_begin.h"

#define PANEL 512

static void transpose16(__m512i *r) { /* 16 x 16 words */
  __m512i t[16];
  for (int i = 0; i < 16; i += 4) {
    __m512i a = _mm512_unpacklo_epi32(r[i], r[i + 1]), b = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    __m512i c = _mm512_unpacklo_epi32(r[i + 2], r[i + 3]);
    __m512i d = _mm512_unpackhi_epi32(r[i + 2], r[i + 3]);
    t[i] = _mm512_unpacklo_epi64(a, c);
    t[i + 1] = _mm512_unpackhi_epi64(a, c);
    t[i + 2] = _mm512_unpacklo_epi64(b, d);
    t[i + 3] = _mm512_unpackhi_epi64(b, d);
  }
  for (int i = 0; i < 4; i++) {
    __m512i a = _mm512_shuffle_i32x4(t[i], t[i + 4], 0x88);
    __m512i b = _mm512_shuffle_i32x4(t[i], t[i + 4], 0xdd);
    __m512i c = _mm512_shuffle_i32x4(t[i + 8], t[i + 12], 0x88);
    __m512i d = _mm512_shuffle_i32x4(t[i + 8], t[i + 12], 0xdd);
    r[i] = _mm512_shuffle_i32x4(a, c, 0x88);
    r[i + 8] = _mm512_shuffle_i32x4(a, c, 0xdd);
    r[i + 4] = _mm512_shuffle_i32x4(b, d, 0x88);
    r[i + 12] = _mm512_shuffle_i32x4(b, d, 0xdd);
  }
}

/* x (rows, K) as it is, as a left factor: `to` has K numbers a row. */
static void pack_rows(const float *x, long ldx, long rows, long K, bf16 *to) {
  for (long i = 0; i < rows; i++)
    for (long k = 0; k < K; k += 16) store_bf16(to + i * K + k, load(x + i * ldx + k));
}

/* x (rows, K) as a right factor, summed over its rows. */
static void pack_right(const float *x, long ldx, long rows, long K, bf16 *to) {
  for (long s = 0; s < rows / 32; s++)
    for (long t = 0; t < K / 16; t++) {
      bf16 *panel = to + (t * (rows / 32) + s) * PANEL;
      const float *from = x + s * 32 * ldx + t * 16;
      for (int p = 0; p < 16; p++) {
        const float *row = from + 2 * p * ldx;
        _mm512_storeu_si512(panel + p * 32, pair_bf16(load(row), load(row + ldx)));
      }
    }
}

/* y (rows, N), transposed, as a left factor (N, rows). */
static void pack_left_transposed(const float *y, long ldy, long rows, long N, bf16 *to) {
  __m512i r[16];
  for (long t = 0; t < N / 16; t++)
    for (long s = 0; s < rows / 32; s++) {
      const float *from = y + s * 32 * ldy + t * 16;
      for (int p = 0; p < 16; p++)
        r[p] = pair_bf16(load(from + 2 * p * ldy), load(from + (2 * p + 1) * ldy));
      transpose16(r);
      for (int i = 0; i < 16; i++) _mm512_storeu_si512(to + (t * 16 + i) * rows + s * 32, r[i]);
    }
}

/* A weight w (N, K), transposed, as the right factor of x w'. */
static void pack_weight(const float *w, long N, long K, bf16 *to) {
  __m512i r[16];
  for (long t = 0; t < N / 16; t++)
    for (long s = 0; s < K / 32; s++) {
      bf16 *panel = to + (t * (K / 32) + s) * PANEL;
      for (int i = 0; i < 16; i++) {
        const float *from = w + (t * 16 + i) * K + s * 32;
        r[i] = join_bf16(load(from), load(from + 16));
      }
      transpose16(r);
      for (int i = 0; i < 16; i++) _mm512_storeu_si512(panel + i * 32, r[i]);
    }
}

#include "vectors_end.h"
