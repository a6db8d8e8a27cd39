/* Attention of one head in one group: scores, softmax and averages without a detour through memory.

   q, k and v are rows of d numbers (d is 8 or a multiple of 16). Scores are kept as (keys,
   queries), for 32 queries at a time: softmax then runs down the rows, sixteen queries side by
   side, and no sum across a register is needed. What a query gets does not depend on the queries
   beside it, not even in the last bit. */
#pragma once
#include "products.h"
#include "vectors_begin.h"

#define QUERIES 32

/* Memory from one block, in pieces of 64 bytes; without a block it only counts. */
typedef struct {
  char *block;
  size_t used;
} Arena;
static void *take(Arena *a, size_t bytes) {
  void *p = a->block ? a->block + a->used : 0;
  a->used += (bytes + 63) / 64 * 64;
  return p;
}

/* What one head of a group needs; all zero at the start, since rows that only fill up are read. */
typedef struct {
  bf16 *keys, *values;                       /* left factors over dimensions */
  bf16 *keys_transposed, *values_transposed; /* left factors over rows */
  bf16 *rows, *queries, *errors;             /* right factors over dimensions, and their rows */
  bf16 *query_rows, *error_rows;             /* right factors over queries */
  bf16 *pairs, *weights, *slopes;            /* of the scores: right factor over keys, left ones */
  float *scores, *slope, *dk, *dv, *out;
} HeadSpace;

static HeadSpace take_head_space(Arena *a, long nk, long d) {
  long n = up32(nk), e = up32(d);
  HeadSpace w;
  w.keys = take(a, 2 * n * e), w.values = take(a, 2 * n * e);
  w.keys_transposed = take(a, 2 * n * e), w.values_transposed = take(a, 2 * n * e);
  w.rows = take(a, 2 * e * QUERIES);
  w.queries = take(a, 2 * e * QUERIES), w.errors = take(a, 2 * e * QUERIES);
  w.query_rows = take(a, 2 * e * QUERIES), w.error_rows = take(a, 2 * e * QUERIES);
  w.pairs = take(a, 2 * n * QUERIES);
  w.weights = take(a, 2 * n * QUERIES), w.slopes = take(a, 2 * n * QUERIES);
  w.scores = take(a, 4 * n * QUERIES), w.slope = take(a, 4 * n * QUERIES);
  w.dk = take(a, 4 * n * e), w.dv = take(a, 4 * n * e);
  w.out = take(a, 4 * e * QUERIES);
  return w;
}

/* Rows as a left factor over dimensions; rows are up32(d) long, the rest of a row stays 0. */
static void pack_dims(const float *x, long ldx, long n, long d, float scale, bf16 *to) {
  for (long i = 0; i < n; i++)
    for (long e = 0; e < d; e += 16)
      store_bf16(to + i * up32(d) + e,
                 _mm512_mul_ps(load_first(x + i * ldx + e, d - e), spread(scale)));
}

/* Rows, transposed, as a left factor over rows: (up16(d), up32(n)), filled up with 0. */
static void pack_dims_transposed(const float *x, long ldx, long n, long d, bf16 *to) {
  __m512i r[16];
  long full = up32(n);
  for (long e = 0; e < d; e += 16)
    for (long j = 0; j < full; j += 32) {
      for (long p = 0, i = j; p < 16; p++, i += 2) {
        const float *row = x + i * ldx + e;
        __m512 a = i < n ? load_first(row, d - e) : zero();
        __m512 b = i + 1 < n ? load_first(row + ldx, d - e) : zero();
        r[p] = pair_bf16(a, b);
      }
      transpose16(r);
      for (int i = 0; i < 16; i++) _mm512_storeu_si512(to + (e + i) * full + j, r[i]);
    }
}

/* Up to 32 queries as a right factor over dimensions; `rows` is room for them as they are. */
static void pack_queries(const float *x, long ldx, long n, long d, float scale, bf16 *rows,
                         bf16 *to) {
  __m512i r[16];
  long w = up32(d);
  pack_dims(x, ldx, n, d, scale, rows);
  memset(rows + n * w, 0, (up16(n) - n) * w * 2);
  for (long e = 0; e < w; e += 32)
    for (long j = 0; j < n; j += 16) {
      for (int i = 0; i < 16; i++) r[i] = _mm512_loadu_si512(rows + (j + i) * w + e);
      transpose16(r);
      bf16 *panel = to + (j / 16 * (w / 32) + e / 32) * PANEL;
      for (int i = 0; i < 16; i++) _mm512_storeu_si512(panel + i * 32, r[i]);
    }
}

/* Up to 32 queries as a right factor over queries, filled up with 0. */
static void pack_query_rows(const float *x, long ldx, long n, long d, float scale, bf16 *to) {
  __m512 s = spread(scale);
  for (long e = 0; e < d; e += 16)
    for (int i = 0; i < 16; i++) {
      const float *row = x + 2 * i * ldx + e;
      __m512 a = 2 * i < n ? _mm512_mul_ps(load_first(row, d - e), s) : zero();
      __m512 b = 2 * i + 1 < n ? _mm512_mul_ps(load_first(row + ldx, d - e), s) : zero();
      _mm512_storeu_si512(to + e / 16 * PANEL + i * 32, pair_bf16(a, b));
    }
}

/* Sixteen dimensions of the queries, (16, queries), back to rows. */
static void unpack_queries(const float *x, long n, __m512 *rows) {
  for (long j = 0; j < n; j += 16) {
    __m512i r[16];
    for (int i = 0; i < 16; i++) r[i] = _mm512_loadu_si512(x + i * QUERIES + j);
    transpose16(r);
    for (int i = 0; i < 16; i++) rows[j + i] = (__m512)r[i];
  }
}

/* Keys c and c + 1 of a right factor over `n` keys, for the sixteen queries from j. */
INLINE void put_pair(bf16 *pairs, long n, long c, long j, __m512 a, __m512 b) {
  bf16 *panel = pairs + (j / 16 * (n / 32) + c / 32) * PANEL;
  _mm512_storeu_si512(panel + c % 32 * 16, pair_bf16(a, b));
}
INLINE __m512 weight(const float *score, __m512 top) {
  return exp2_16(_mm512_sub_ps(load(score), top));
}

/* Softmax, not yet divided by its sum. `stats` keeps the largest score and one over the sum. */
static void softmax(const float *s, long nk, bf16 *pairs, long j, float *stats) {
  __m512 top = load(s), sum = zero();
  long c, n = up32(nk);
  for (c = 1; c < nk; c++) top = _mm512_max_ps(top, load(s + c * QUERIES));
  for (c = 0; c < nk; c += 2) {
    __m512 a = weight(s + c * QUERIES, top);
    __m512 b = c + 1 < nk ? weight(s + (c + 1) * QUERIES, top) : zero();
    sum = _mm512_add_ps(sum, _mm512_add_ps(a, b));
    put_pair(pairs, n, c, j, a, b);
  }
  for (; c < n; c += 2) put_pair(pairs, n, c, j, zero(), zero());
  store(stats, top);
  store(stats + 16, _mm512_div_ps(spread(1.f), sum));
}

/* Rows of q lie `ldq` apart, those of k and v `ldk`, those of o `ldo`. `level` is the call's
   `instructions`. */
static void attend(long level, const float *q, long ldq, const float *k, const float *v, long ldk,
                   long nq, long nk, long d, float factor, float *o, long ldo, float *stats,
                   const HeadSpace *w) {
  long n = up32(nk), wide = up32(d);
  pack_dims(k, ldk, nk, d, 1.f, w->keys);
  pack_dims_transposed(v, ldk, nk, d, w->values_transposed);
  for (long l = 0; l < nq; l += QUERIES) {
    long nb = at_most(nq - l, QUERIES), N = up16(nb);
    pack_queries(q + l * ldq, ldq, nb, d, factor * LOG2E, w->rows, w->queries);
    product(level, w->keys, wide, up16(nk), w->queries, wide, wide, N, w->scores, QUERIES, 0);
    for (long j = 0; j < N; j += 16) softmax(w->scores + j, nk, w->pairs, j, stats + 2 * (l + j));
    product(level, w->values_transposed, n, up16(d), w->pairs, n, n, N, w->out, QUERIES, 0);
    for (long e = 0; e < d; e += 16) {
      __m512 rows[QUERIES];
      for (long j = 0; j < N; j += 16)
        for (long i = e; i < e + 16; i++) {
          float *out = w->out + i * QUERIES + j;
          store(out, _mm512_mul_ps(load(out), load(stats + 2 * (l + j) + 16)));
        }
      unpack_queries(w->out + e * QUERIES, N, rows);
      for (long i = 0; i < nb; i++) store_first(o + (l + i) * ldo + e, d - e, rows[i]);
    }
  }
}

/* With weights p, their gradient t = do v' and delta the average of t, the gradient of a score is
   p (t - delta). Here s becomes p, and t that gradient. */
static void softmax_back(float *s, float *t, long nk, bf16 *pairs, long j, const float *stats) {
  __m512 top = load(stats), part = load(stats + 16), delta = zero();
  long n = up32(nk);
  for (long c = 0; c < nk; c++) {
    __m512 p = _mm512_mul_ps(weight(s + c * QUERIES, top), part);
    delta = _mm512_fmadd_ps(p, load(t + c * QUERIES), delta);
    store(s + c * QUERIES, p);
  }
  for (long c = 0; c < nk; c++) {
    __m512 gap = _mm512_sub_ps(load(t + c * QUERIES), delta);
    store(t + c * QUERIES, _mm512_mul_ps(load(s + c * QUERIES), gap));
  }
  for (long c = nk; c < n; c++) store(s + c * QUERIES, zero()), store(t + c * QUERIES, zero());
  for (long c = 0; c < n; c += 2)
    put_pair(pairs, n, c, j, load(t + c * QUERIES), load(t + (c + 1) * QUERIES));
}

/* The way back. The gradient of o lies where that of q will; the gradients of k and v are stored
   `ldk` apart, as k and v are. Returns the gradient of `factor`. */
static float attend_back(long level, const float *q, long ldq, const float *k, const float *v,
                         long ldk, long nq, long nk, long d, float factor, const float *stats,
                         float *dq, float *dk, float *dv, long lddk, const HeadSpace *w) {
  long n = up32(nk), full = up16(nk), wide = up32(d), e16 = up16(d);
  __m512 along = zero();
  pack_dims(k, ldk, nk, d, 1.f, w->keys);
  pack_dims(v, ldk, nk, d, 1.f, w->values);
  pack_dims_transposed(k, ldk, nk, d, w->keys_transposed);
  memset(w->dk, 0, n * e16 * 4);
  memset(w->dv, 0, n * e16 * 4);
  for (long l = 0; l < nq; l += QUERIES) {
    long nb = at_most(nq - l, QUERIES), N = up16(nb);
    const float *ql = q + l * ldq;
    float *dl = dq + l * ldq;
    pack_queries(ql, ldq, nb, d, factor * LOG2E, w->rows, w->queries);
    pack_queries(dl, ldq, nb, d, 1.f, w->rows, w->errors);
    pack_query_rows(ql, ldq, nb, d, factor, w->query_rows);
    pack_query_rows(dl, ldq, nb, d, 1.f, w->error_rows);
    product(level, w->keys, wide, full, w->queries, wide, wide, N, w->scores, QUERIES, 0);
    product(level, w->values, wide, full, w->errors, wide, wide, N, w->slope, QUERIES, 0);
    for (long j = 0; j < N; j += 16)
      softmax_back(w->scores + j, w->slope + j, nk, w->pairs, j, stats + 2 * (l + j));
    for (long c = 0; c < full; c++) {
      const float *s = w->scores + c * QUERIES, *t = w->slope + c * QUERIES;
      __m512 s2 = N > 16 ? load(s + 16) : zero(), t2 = N > 16 ? load(t + 16) : zero();
      _mm512_storeu_si512(w->weights + c * QUERIES, join_bf16(load(s), s2));
      _mm512_storeu_si512(w->slopes + c * QUERIES, join_bf16(load(t), t2));
    }
    product(level, w->weights, QUERIES, full, w->error_rows, QUERIES, QUERIES, e16, w->dv, e16, 1);
    product(level, w->slopes, QUERIES, full, w->query_rows, QUERIES, QUERIES, e16, w->dk, e16, 1);
    product(level, w->keys_transposed, n, e16, w->pairs, n, n, N, w->out, QUERIES, 0);
    for (long e = 0; e < d; e += 16) {
      __m512 rows[QUERIES];
      unpack_queries(w->out + e * QUERIES, N, rows);
      for (long i = 0; i < nb; i++) {
        along = _mm512_fmadd_ps(rows[i], load_first(ql + i * ldq + e, d - e), along);
        store_first(dl + i * ldq + e, d - e, _mm512_mul_ps(rows[i], spread(factor)));
      }
    }
  }
  for (long c = 0; c < nk; c++)
    for (long e = 0; e < d; e += 16) {
      store_first(dk + c * lddk + e, d - e, load(w->dk + c * e16 + e));
      store_first(dv + c * lddk + e, d - e, load(w->dv + c * e16 + e));
    }
  return total(along);
}

#include "vectors_end.h"
