/* Half a block of Mitra in one go, forward and back.

   z + attention(norm(z)), and then z + feed-forward(norm(z)), for one *tile* of a table at a time,
   small enough to stay in the cache of a core: along the features a few rows, down the rows a
   column or a few. What is needed on the way back is computed anew from the tile's input, which
   costs less than fetching it from memory. */
#pragma once
#include "attention.h"
#include "threads.h"
#include "vectors_begin.h"

enum { NORM_GAIN, NORM_BIAS, QKV, QKV_BIAS, OUT, OUT_BIAS, NORM2_GAIN, NORM2_BIAS,
       UP, UP_BIAS, DOWN, DOWN_BIAS, N_WEIGHTS };

/* One call. Cells of width D form groups of n that attend to each other, `groups1` times `groups2`
   of them; cell i of group (a, b) is cell a * stride1 + b * stride2 + i * step of z. Of a group,
   the first nq cells are queries. Keys are its own cells, or the nk that come with the call.
   `instructions` (WITH_AVX512 or WITH_AMX) is one that `kernel_open` found possible. */
typedef struct {
  long groups1, groups2, stride1, stride2, step, n, nq, nk, D, F, H;
  long groups_per_tile, rows;        /* size of a tile; cells of it in one product */
  long threads, instructions;
  const float *z, *scale;            /* cells; (groups1, H) factor of the scores, or 0 */
  const float *w[N_WEIGHTS];
  const float *k, *v;                /* (groups, H, nk, d) of the support, or 0: its own */
  float *attended, *softmax_stats;   /* attention output, maximum and 1 / sum: kept for backward */
  float *y, *k_out, *v_out;          /* forward: the result; keys and values for others, or 0 */
  const float *dy;                   /* back: the gradient of y */
  float *dz, *dscale, *dw[N_WEIGHTS];
  float *dk, *dv;                    /* of the k and v that came; or of k_out and v_out, or 0 */
} Half;

/* What a call needs besides: weights as the products read them, and sums of their gradients. */
typedef struct {
  const Half *half;
  bf16 *qkv, *out, *up, *down, *qkv_back, *out_back, *up_back, *down_back;
  float *sums;
  int failed;
} Job;

static long n_groups(const Half *p) { return p->groups1 * p->groups2; }
static long n_tiles(const Half *p) {
  return (n_groups(p) + p->groups_per_tile - 1) / p->groups_per_tile;
}
static long cell(const Half *p, long group, long i) { /* of z */
  return group / p->groups2 * p->stride1 + group % p->groups2 * p->stride2 + i * p->step;
}
static long result(const Half *p, long group, long i) { /* of y: query i of a group */
  return p->nq == p->n ? cell(p, group, i) : group * p->nq + i;
}
static float score_factor(const Half *p, long group, long h) {
  float scale = p->scale ? p->scale[group / p->groups2 * p->H + h] : 1.f;
  return scale / sqrtf((float)(p->D / p->H));
}
static float *softmax_stats_of(const Half *p, long group, long h) {
  return p->softmax_stats + (group * p->H + h) * 2 * up16(p->nq);
}
static void weight_sizes(const Half *p, long *n) {
  long D = p->D, F = p->F;
  long sizes[N_WEIGHTS] = {D, D, 3 * D * D, 3 * D, D * D, D, D, D, F * D, F, D * F, D};
  memcpy(n, sizes, sizeof sizes);
}

/* ---- Rows ---- */

static void copy(float *to, const float *from, long n) { memcpy(to, from, n * sizeof(float)); }
static void clear(float *x, long n) { memset(x, 0, n * sizeof(float)); }
static void add_to(float *to, const float *from, long n) {
  for (long i = 0; i < n; i++) to[i] += from[i];
}
static void add_bias(float *x, long ldx, long rows, long N, const float *b) {
  for (long i = 0; i < rows; i++) add_to(x + i * ldx, b, N);
}
static void sum_rows(const float *x, long ldx, long rows, long N, float *to) {
  for (long n = 0; n < N; n += 16) {
    __m512 s = load(to + n);
    for (long i = 0; i < rows; i++) s = _mm512_add_ps(s, load(x + i * ldx + n));
    store(to + n, s);
  }
}

/* Mean of a row, and one over its standard deviation. */
static void moments(const float *x, long D, __m512 *mean, __m512 *part) {
  __m512 s = zero(), v = zero();
  for (long d = 0; d < D; d += 16) s = _mm512_add_ps(s, load(x + d));
  *mean = spread(total(s) / D);
  for (long d = 0; d < D; d += 16) {
    __m512 c = _mm512_sub_ps(load(x + d), *mean);
    v = _mm512_fmadd_ps(c, c, v);
  }
  *part = spread(1.f / sqrtf(total(v) / D + 1e-5f));
}
/* The layer norm of a row, in bfloat16 or float32 or both (0: not wanted). */
static void norm(const float *x, const float *gain, const float *bias, long D, bf16 *narrow,
                 float *wide) {
  __m512 mean, part;
  moments(x, D, &mean, &part);
  for (long d = 0; d < D; d += 16) {
    __m512 y = _mm512_mul_ps(_mm512_sub_ps(load(x + d), mean), part);
    y = _mm512_fmadd_ps(y, load(gain + d), load(bias + d));
    if (narrow) store_bf16(narrow + d, y);
    if (wide) store(wide + d, y);
  }
}
/* Its way back: gradients are added to those of the input, the gain and the bias. */
static void norm_back(const float *x, const float *dy, const float *gain, long D, float *dx,
                      float *dgain, float *dbias) {
  __m512 mean, part, p = zero(), q = zero();
  moments(x, D, &mean, &part);
  for (long d = 0; d < D; d += 16) {
    __m512 y = _mm512_mul_ps(_mm512_sub_ps(load(x + d), mean), part), e = load(dy + d);
    store(dgain + d, _mm512_fmadd_ps(e, y, load(dgain + d)));
    store(dbias + d, _mm512_add_ps(e, load(dbias + d)));
    e = _mm512_mul_ps(e, load(gain + d));
    p = _mm512_add_ps(p, e);
    q = _mm512_fmadd_ps(e, y, q);
  }
  p = spread(total(p) / D), q = spread(total(q) / D);
  for (long d = 0; d < D; d += 16) {
    __m512 y = _mm512_mul_ps(_mm512_sub_ps(load(x + d), mean), part);
    __m512 e = _mm512_mul_ps(load(dy + d), load(gain + d));
    e = _mm512_sub_ps(_mm512_sub_ps(e, p), _mm512_mul_ps(y, q));
    store(dx + d, _mm512_fmadd_ps(e, part, load(dx + d)));
  }
}

/* ---- A tile, and the memory for one ---- */

typedef struct {
  long group, end;      /* its groups */
  long cells, queries;  /* in all of them */
} Tile;
static Tile tile_of(const Half *p, long i) {
  long group = i * p->groups_per_tile, end = at_most(group + p->groups_per_tile, n_groups(p));
  return (Tile){group, end, (end - group) * p->n, (end - group) * p->nq};
}
static long query_cell(const Half *p, long a) { /* of a tile: the cell that query a is */
  return a / p->nq * p->n + a % p->nq;
}

#define PAD 32 /* rows a power of two apart would share few places of the cache */
typedef struct {
  float *z, *qkv, *z1, *hidden, *y;    /* forward */
  float *dy, *dqkv, *h, *dh, *dhidden; /* back */
  bf16 *narrow, *narrow_attended, *narrow_wide, *left, *right;
  HeadSpace head;
  char *block;
} Workspace;

static size_t lay_out(Workspace *w, const Half *p, int back, char *block) {
  Arena a = {block, 0};
  long D = p->D, F = p->F, R = up32(p->rows), cells = up32(p->groups_per_tile * p->n) + 32;
  long wide = 3 * D > F ? 3 * D : F;
  w->block = block;
  w->z = take(&a, 4 * cells * D), w->qkv = take(&a, 4 * cells * 3 * D);
  w->z1 = take(&a, 4 * R * D), w->y = take(&a, 4 * R * D), w->hidden = take(&a, 4 * R * F);
  w->narrow = take(&a, 2 * R * (D + PAD)), w->narrow_attended = take(&a, 2 * R * D);
  w->narrow_wide = take(&a, 2 * R * (wide + PAD));
  w->head = take_head_space(&a, p->nk, D / p->H);
  if (back) {
    w->dy = take(&a, 4 * cells * D), w->dqkv = take(&a, 4 * cells * 3 * D);
    w->h = take(&a, 4 * R * D), w->dh = take(&a, 4 * R * D), w->dhidden = take(&a, 4 * R * F);
    w->left = take(&a, 2 * R * wide), w->right = take(&a, 2 * R * wide);
  }
  return a.used;
}
/* All zero: rows that only fill up are read, and must hold numbers. */
static int make_workspace(Workspace *w, const Half *p, int back) {
  size_t bytes = lay_out(w, p, back, 0);
  char *block = aligned_alloc(64, bytes);
  if (!block) return 0;
  memset(block, 0, bytes);
  lay_out(w, p, back, block);
  return 1;
}

/* ---- Forward ---- */

static void gather(const Half *p, Tile t, float *z) {
  for (long g = t.group; g < t.end; g++)
    for (long i = 0; i < p->n; i++, z += p->D) copy(z, p->z + cell(p, g, i) * p->D, p->D);
}

/* Queries, keys and values; queries alone where keys came with the call. */
static void project(const Job *j, Tile t, Workspace *w) {
  const Half *p = j->half;
  long D = p->D, W = 3 * D, N = p->k ? D : W, R = p->rows;
  for (long m = 0; m < t.cells; m += R) {
    long rows = at_most(t.cells - m, R);
    for (long i = 0; i < rows; i++)
      norm(w->z + (m + i) * D, p->w[NORM_GAIN], p->w[NORM_BIAS], D, w->narrow + i * (D + PAD), 0);
    product(p->instructions, w->narrow, D + PAD, up16(rows), j->qkv, D, D, N, w->qkv + m * W, W, 0);
    add_bias(w->qkv + m * W, W, rows, N, p->w[QKV_BIAS]);
  }
}

/* Where a head of a group finds its queries, keys and values. */
typedef struct {
  const float *q, *k, *v;
  long ldk;
} Views;
static Views head_of(const Half *p, Tile t, const Workspace *w, long g, long h) {
  long D = p->D, d = D / p->H, at = (g * p->H + h) * p->nk * d;
  const float *q = w->qkv + (g - t.group) * p->n * 3 * D + h * d;
  return p->k ? (Views){q, p->k + at, p->v + at, d} : (Views){q, q + D, q + 2 * D, 3 * D};
}
static void copy_keys_values(const Half *p, Views x, long at) {
  long d = p->D / p->H;
  for (long i = 0; i < p->nk; i++)
    for (long e = 0; e < d; e += 16) {
      long to = at + i * d + e;
      store_first(p->k_out + to, d - e, load_first(x.k + i * x.ldk + e, d - e));
      store_first(p->v_out + to, d - e, load_first(x.v + i * x.ldk + e, d - e));
    }
}
static void attend_all(const Half *p, Tile t, Workspace *w) {
  long D = p->D, d = D / p->H;
  for (long g = t.group; g < t.end; g++)
    for (long h = 0; h < p->H; h++) {
      Views x = head_of(p, t, w, g, h);
      if (p->k_out) copy_keys_values(p, x, (g * p->H + h) * p->nk * d);
      attend(p->instructions, x.q, 3 * D, x.k, x.v, x.ldk, p->nq, p->nk, d, score_factor(p, g, h),
             p->attended + g * p->nq * D + h * d, D, softmax_stats_of(p, g, h), &w->head);
    }
}

/* The output projection, added to z, and its norm; `h` wants that in float32, too, or is 0. */
static void attention_out(const Job *j, Tile t, long at, long rows, Workspace *w, float *h) {
  const Half *p = j->half;
  long D = p->D;
  pack_rows(p->attended + (t.group * p->nq + at) * D, D, rows, D, w->narrow_attended);
  product(p->instructions, w->narrow_attended, D, up16(rows), j->out, D, D, D, w->z1, D, 0);
  add_bias(w->z1, D, rows, D, p->w[OUT_BIAS]);
  for (long i = 0; i < rows; i++) {
    float *z1 = w->z1 + i * D;
    add_to(z1, w->z + query_cell(p, at + i) * D, D);
    norm(z1, p->w[NORM2_GAIN], p->w[NORM2_BIAS], D, w->narrow + i * (D + PAD), h ? h + i * D : 0);
  }
}
static void feed_forward(const Job *j, Tile t, long at, long rows, Workspace *w) {
  const Half *p = j->half;
  long D = p->D, F = p->F;
  __m512 slope;
  product(p->instructions, w->narrow, D + PAD, up16(rows), j->up, D, D, F, w->hidden, F, 0);
  for (long i = 0; i < rows; i++)
    for (long f = 0; f < F; f += 16) {
      __m512 x = _mm512_add_ps(load(w->hidden + i * F + f), load(p->w[UP_BIAS] + f));
      store_bf16(w->narrow_wide + i * (F + PAD) + f, gelu(x, &slope));
    }
  product(p->instructions, w->narrow_wide, F + PAD, up16(rows), j->down, F, F, D, w->y, D, 0);
  for (long i = 0; i < rows; i++) {
    float *y = p->y + result(p, t.group + (at + i) / p->nq, (at + i) % p->nq) * D;
    for (long d = 0; d < D; d += 16) {
      __m512 x = _mm512_add_ps(load(w->y + i * D + d), load(p->w[DOWN_BIAS] + d));
      store(y + d, _mm512_add_ps(x, load(w->z1 + i * D + d)));
    }
  }
}

static void forward_tiles(void *job, long from, long to, long who) {
  (void)who;
  Job *j = job;
  const Half *p = j->half;
  Workspace w;
  if (!make_workspace(&w, p, 0)) {
    __atomic_store_n(&j->failed, 1, __ATOMIC_SEQ_CST);
    return;
  }
  unit_on(p->instructions);
  for (long i = from; i < to; i++) {
    Tile t = tile_of(p, i);
    gather(p, t, w.z);
    project(j, t, &w);
    attend_all(p, t, &w);
    for (long at = 0; at < t.queries; at += p->rows) {
      long rows = at_most(t.queries - at, p->rows);
      attention_out(j, t, at, rows, &w, 0);
      feed_forward(j, t, at, rows, &w);
    }
  }
  unit_off(p->instructions);
  free(w.block);
}

/* ---- Back ---- */

/* Adds dy' x to the gradient of a weight, and the sum of dy to that of its bias. Rows up to the
   next multiple of 32 must hold 0. */
static void weight_back(const Half *p, const float *dy, long ldy, long N, const float *x, long K,
                        long rows, float *dw, float *db, Workspace *w) {
  long full = up32(rows);
  sum_rows(dy, ldy, rows, N, db);
  pack_left_transposed(dy, ldy, full, N, w->left);
  pack_right(x, K, full, K, w->right);
  product(p->instructions, w->left, full, N, w->right, full, full, K, dw, K, 1);
}

static void feed_forward_back(const Job *j, Tile t, long at, long rows, Workspace *w, float **dw) {
  const Half *p = j->half;
  long D = p->D, F = p->F, full = up32(rows);
  float *dy = w->dy + at * D;
  clear(dy + rows * D, (full - rows) * D);
  clear(w->h + rows * D, (full - rows) * D);
  attention_out(j, t, at, rows, w, w->h);
  product(p->instructions, w->narrow, D + PAD, full, j->up, D, D, F, w->hidden, F, 0);
  pack_rows(dy, D, full, D, w->narrow_wide);
  product(p->instructions, w->narrow_wide, D, full, j->down_back, D, D, F, w->dhidden, F, 0);
  for (long i = 0; i < full * F; i += 16) {
    __m512 slope, x = _mm512_add_ps(load(w->hidden + i), load(p->w[UP_BIAS] + i % F));
    store(w->hidden + i, gelu(x, &slope));
    store(w->dhidden + i, _mm512_mul_ps(load(w->dhidden + i), slope));
  }
  weight_back(p, dy, D, D, w->hidden, F, rows, dw[DOWN], dw[DOWN_BIAS], w);
  pack_rows(w->dhidden, F, full, F, w->narrow_wide);
  product(p->instructions, w->narrow_wide, F, full, j->up_back, F, F, D, w->dh, D, 0);
  weight_back(p, w->dhidden, F, F, w->h, D, rows, dw[UP], dw[UP_BIAS], w);
  for (long i = 0; i < rows; i++)
    norm_back(w->z1 + i * D, w->dh + i * D, p->w[NORM2_GAIN], D, dy + i * D, dw[NORM2_GAIN],
              dw[NORM2_BIAS]);
}
static void attention_out_back(const Job *j, Tile t, long at, long rows, Workspace *w, float **dw) {
  const Half *p = j->half;
  long D = p->D, full = up32(rows);
  float *dy = w->dy + at * D;
  pack_rows(dy, D, full, D, w->narrow_wide);
  product(p->instructions, w->narrow_wide, D, full, j->out_back, D, D, D, w->dh, D, 0);
  copy(w->h, p->attended + (t.group * p->nq + at) * D, rows * D);
  weight_back(p, dy, D, D, w->h, D, rows, dw[OUT], dw[OUT_BIAS], w);
  for (long i = 0; i < rows; i++) /* where the gradient of q will be */
    copy(w->dqkv + query_cell(p, at + i) * 3 * D, w->dh + i * D, D);
}
static void attend_all_back(const Half *p, Tile t, Workspace *w) {
  long D = p->D, W = 3 * D, d = D / p->H;
  for (long g = t.group; g < t.end; g++) {
    float *group = w->dqkv + (g - t.group) * p->n * W;
    for (long i = p->nq; i < p->n; i++) clear(group + i * W, D);
    for (long h = 0; h < p->H; h++) {
      Views x = head_of(p, t, w, g, h);
      long at = (g * p->H + h) * p->nk * d;
      float *dq = group + h * d, *dk = p->k ? p->dk + at : dq + D, *dv = p->k ? p->dv + at : dk + D;
      float slope = attend_back(p->instructions, x.q, W, x.k, x.v, x.ldk, p->nq, p->nk, d,
                                score_factor(p, g, h), softmax_stats_of(p, g, h), dq, dk, dv,
                                x.ldk, &w->head);
      if (p->dscale) p->dscale[g * p->H + h] = slope / sqrtf((float)d);
      if (p->k || !p->dk) continue;
      for (long i = 0; i < p->nk; i++) { /* other calls used these keys and values */
        add_to(dk + i * W, p->dk + at + i * d, d);
        add_to(dv + i * W, p->dv + at + i * d, d);
      }
    }
  }
}
static void project_back(const Job *j, Tile t, Workspace *w, float **dw) {
  const Half *p = j->half;
  long D = p->D, W = 3 * D, N = p->k ? D : W, R = p->rows;
  for (long m = 0; m < t.cells; m += R) {
    long rows = at_most(t.cells - m, R), full = up32(rows);
    float *dy = w->dqkv + m * W;
    clear(dy + rows * W, (full - rows) * W);
    clear(w->h + rows * D, (full - rows) * D);
    for (long i = 0; i < rows; i++)
      norm(w->z + (m + i) * D, p->w[NORM_GAIN], p->w[NORM_BIAS], D, 0, w->h + i * D);
    pack_rows(dy, W, full, N, w->narrow_wide);
    product(p->instructions, w->narrow_wide, N, full, j->qkv_back, W, N, D, w->dh, D, 0);
    weight_back(p, dy, W, N, w->h, D, rows, dw[QKV], dw[QKV_BIAS], w);
    for (long i = 0; i < rows; i++) {
      long group = (m + i) / p->n, place = (m + i) % p->n;
      float *dz = p->dz + cell(p, t.group + group, place) * D;
      if (place < p->nq)
        copy(dz, w->dy + (group * p->nq + place) * D, D);
      else
        clear(dz, D);
      norm_back(w->z + (m + i) * D, w->dh + i * D, p->w[NORM_GAIN], D, dz, dw[NORM_GAIN],
                dw[NORM_BIAS]);
    }
  }
}

static void backward_tiles(void *job, long from, long to, long who) {
  Job *j = job;
  const Half *p = j->half;
  Workspace w;
  if (!make_workspace(&w, p, 1)) {
    __atomic_store_n(&j->failed, 1, __ATOMIC_SEQ_CST);
    return;
  }
  long sizes[N_WEIGHTS], all = 0;
  float *dw[N_WEIGHTS], *sums = j->sums;
  weight_sizes(p, sizes);
  for (int i = 0; i < N_WEIGHTS; i++) all += sizes[i];
  sums += who * all;
  for (int i = 0; i < N_WEIGHTS; i++) dw[i] = sums, sums += sizes[i];
  unit_on(p->instructions);
  for (long i = from; i < to; i++) {
    Tile t = tile_of(p, i);
    gather(p, t, w.z);
    project(j, t, &w);
    for (long a = 0; a < t.queries; a++)
      copy(w.dy + a * p->D, p->dy + result(p, t.group + a / p->nq, a % p->nq) * p->D, p->D);
    for (long at = 0; at < t.queries; at += p->rows) {
      long rows = at_most(t.queries - at, p->rows);
      feed_forward_back(j, t, at, rows, &w, dw);
      attention_out_back(j, t, at, rows, &w, dw);
    }
    attend_all_back(p, t, &w);
    project_back(j, t, &w, dw);
  }
  unit_off(p->instructions);
  free(w.block);
}

/* ---- A call ---- */

static Block pack_weights(Job *j, int back) {
  const Half *p = j->half;
  long D = p->D, F = p->F, qkv = 3 * D * D, out = D * D, up = D * F;
  Block all = borrow((qkv + out + 2 * up) * (1 + back) * sizeof(bf16));
  if (!all.at) return all;
  j->qkv = all.at, j->out = j->qkv + qkv, j->up = j->out + out, j->down = j->up + up;
  pack_weight(p->w[QKV], 3 * D, D, j->qkv);
  pack_weight(p->w[OUT], D, D, j->out);
  pack_weight(p->w[UP], F, D, j->up);
  pack_weight(p->w[DOWN], D, F, j->down);
  if (!back) return all;
  j->qkv_back = j->down + up, j->out_back = j->qkv_back + qkv;
  j->up_back = j->out_back + out, j->down_back = j->up_back + up;
  pack_right(p->w[QKV], D, 3 * D, D, j->qkv_back);
  pack_right(p->w[OUT], D, D, D, j->out_back);
  pack_right(p->w[UP], D, F, D, j->up_back);
  pack_right(p->w[DOWN], F, D, F, j->down_back);
  return all;
}

static int run_half(Job *j, Task task, int back) { /* 1: out of memory */
  Block weights = pack_weights(j, back);
  if (!weights.at) return 1;
  share(task, j, n_tiles(j->half), j->half->threads);
  give_back(weights);
  return j->failed;
}

static int run_forward(const Half *p) {
  Job j = {.half = p};
  return run_half(&j, forward_tiles, 0);
}

/* Each thread sums up gradients of its own; they are added in the same order every time, so that
   the same call gives the same bits. */
static int run_backward(const Half *p) {
  Job j = {.half = p};
  long sizes[N_WEIGHTS], all = 0, parts = n_parts(n_tiles(p), p->threads);
  weight_sizes(p, sizes);
  for (int i = 0; i < N_WEIGHTS; i++) all += sizes[i];
  j.sums = calloc(parts * all + 1, sizeof(float));
  if (!j.sums) return 1;
  int failed = run_half(&j, backward_tiles, 1);
  const float *from = j.sums;
  for (long who = 0; who < parts; who++)
    for (int i = 0; i < N_WEIGHTS; i++) add_to(p->dw[i], from, sizes[i]), from += sizes[i];
  free(j.sums);
  return failed;
}

#include "vectors_end.h"
