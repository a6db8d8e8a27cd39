/* The same product on the processor's matrix unit (AMX): eight tiles of 16 rows by 64 bytes, of
   which four collect, two hold A, and two B. Only this file knows of it. */
#pragma once
#include "packing.h"
#include "vectors_begin.h"

#ifndef EMULATED_TILES /* the tests bring their own tiles */
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("amx-tile,amx-bf16"))), apply_to = function)
#else
#pragma GCC target("amx-tile,amx-bf16")
#endif
#endif

static void matrix_unit_on(void) {
  struct {
    uint8_t palette, start, unused[14];
    uint16_t bytes[16];
    uint8_t rows[16];
  } tiles = {.palette = 1};
  for (int i = 0; i < 8; i++) tiles.bytes[i] = 64, tiles.rows[i] = 16;
  _tile_loadconfig(&tiles);
}
static void matrix_unit_off(void) { _tile_release(); }

static void product_amx(const bf16 *A, long lda, long M, const bf16 *B, long deep, long K, long N,
                        float *C, long ldc, int add) {
  for (long n = 0; n < N; n += 32)
    for (long m = 0; m < M; m += 32) {
      float *c = C + m * ldc + n, *lower = c + 16 * ldc;
      int low = m + 16 < M, right = n + 16 < N;
      _tile_zero(0);
      _tile_zero(1);
      _tile_zero(2);
      _tile_zero(3);
      if (add) {
        _tile_loadd(0, c, ldc * 4);
        if (right) _tile_loadd(1, c + 16, ldc * 4);
        if (low) _tile_loadd(2, lower, ldc * 4);
        if (low && right) _tile_loadd(3, lower + 16, ldc * 4);
      }
      for (long k = 0; k < K; k += 32) {
        const bf16 *a = A + m * lda + k, *b = B + n * deep + k * 16;
        _tile_loadd(4, a, lda * 2);
        _tile_loadd(6, b, 64);
        _tile_dpbf16ps(0, 4, 6);
        if (right) {
          _tile_loadd(7, b + 16 * deep, 64);
          _tile_dpbf16ps(1, 4, 7);
        }
        if (low) {
          _tile_loadd(5, a + 16 * lda, lda * 2);
          _tile_dpbf16ps(2, 5, 6);
          if (right) _tile_dpbf16ps(3, 5, 7);
        }
      }
      _tile_stored(0, c, ldc * 4);
      if (right) _tile_stored(1, c + 16, ldc * 4);
      if (low) _tile_stored(2, lower, ldc * 4);
      if (low && right) _tile_stored(3, lower + 16, ldc * 4);
    }
}

#if defined(__clang__) && !defined(EMULATED_TILES)
#pragma clang attribute pop
#endif
#include "vectors_end.h"
