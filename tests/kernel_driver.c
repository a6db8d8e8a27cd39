/* Tests of the kernel's C code without Python, so that gcc's sanitizers can watch it. Every block of
   memory is exactly as large as it is said to be. With EMULATED_TILES the matrix unit's code runs too,
   on tiles in software. Ends with 0 if all is well, 77 if this processor can't run it. */
#include <stdio.h>

#ifdef EMULATED_TILES
#include <immintrin.h>
#include <math.h>
#include <stdint.h>
#include <string.h>
static _Thread_local union {
  float f[16][16];
  uint16_t h[16][32];
} tile[8];
static _Thread_local int configured;
long tile_products; /* how often the tiles were used, by all threads */
static void emulated_load(int t, const void *from, long step) {
  for (int i = 0; i < 16; i++) memcpy(tile[t].f[i], (const char *)from + i * step, 64);
}
static void emulated_store(int t, void *to, long step) {
  for (int i = 0; i < 16; i++) memcpy((char *)to + i * step, tile[t].f[i], 64);
}
static float half_number(uint16_t x) {
  uint32_t wide = (uint32_t)x << 16;
  float f;
  memcpy(&f, &wide, 4);
  return f;
}
static void emulated_product(int c, int a, int b) {
  __atomic_add_fetch(&tile_products, 1, __ATOMIC_RELAXED);
  for (int i = 0; i < 16; i++)
    for (int j = 0; j < 16; j++)
      for (int k = 0; k < 32; k++)
        tile[c].f[i][j] += half_number(tile[a].h[i][k]) * half_number(tile[b].h[k / 2][2 * j + k % 2]);
}
#undef _tile_loadconfig
#undef _tile_release
#undef _tile_zero
#undef _tile_loadd
#undef _tile_stored
#undef _tile_dpbf16ps
#define _tile_loadconfig(p) (configured = (p)->palette == 1 && (p)->bytes[7] == 64 && (p)->rows[7] == 16)
#define _tile_release() (configured = 0)
#define _tile_zero(t) memset(&tile[t], 0, sizeof tile[t])
#define _tile_loadd(t, from, step) emulated_load(t, from, step)
#define _tile_stored(t, to, step) emulated_store(t, to, step)
#define _tile_dpbf16ps(c, a, b) emulated_product(c, a, b)
#endif

#include "kernel.c"

static unsigned seed = 1;
static float draw(void) {
  seed = seed * 1664525 + 1013904223;
  return (float)(seed >> 8) / (1 << 23) - 1;
}
static float *numbers(long n, float scale) {
  float *x = malloc((n ? n : 1) * sizeof(float));
  for (long i = 0; i < n; i++) x[i] = scale * draw();
  return x;
}
static void check(const char *what, const float *got, const double *right, long n, double limit) {
  double gap = 0, size = 0;
  for (long i = 0; i < n; i++) gap += pow(got[i] - right[i], 2), size += right[i] * right[i];
  gap = sqrt(gap / (size > 1e-9 ? size : 1));
  if (!(gap < limit)) printf("%s: off by %g\n", what, gap), exit(1);
}

#include "vectors_begin.h"

static void test_gelu(void) {
  for (float from = -8; from < 8; from += .1f) {
    float x[16], y[16], slope[16];
    double right[16], right_slope[16];
    for (int i = 0; i < 16; i++) {
      x[i] = from + .01f * i;
      double cdf = .5 * erfc(-x[i] / sqrt(2)), density = exp(-.5 * x[i] * x[i]) / sqrt(2 * M_PI);
      right[i] = x[i] * cdf, right_slope[i] = cdf + x[i] * density;
    }
    __m512 s;
    store(y, gelu(load(x), &s));
    store(slope, s);
    for (int i = 0; i < 16; i++)
      if (fabs(y[i] - right[i]) > 2e-6 || fabs(slope[i] - right_slope[i]) > 2e-6) printf("gelu of %g\n", x[i]), exit(1);
  }
}

static void test_product(long level, long M, long K, long N, int add) {
  float *a = numbers(M * K, 1), *w = numbers(N * K, 1), *c = numbers(M * N, 1);
  double *right = malloc(M * N * sizeof(double));
  for (long i = 0; i < M; i++)
    for (long j = 0; j < N; j++) {
      double sum = add ? c[i * N + j] : 0;
      for (long k = 0; k < K; k++) sum += (double)a[i * K + k] * w[j * K + k];
      right[i * N + j] = sum;
    }
  bf16 *left = malloc(M * K * 2), *packed = malloc(N * K * 2);
  pack_rows(a, K, M, K, left);
  pack_weight(w, N, K, packed);
  unit_on(level);
  product(level, left, K, M, packed, K, K, N, c, N, add);
  unit_off(level);
  check("product", c, right, M * N, .01);
  free(a), free(w), free(c), free(right), free(left), free(packed);
}

/* Half a block in double precision, one group after the other. */
static void plain_norm(const float *x, const double *z, const float *gain, const float *bias, long D, double *y) {
  double mean = 0, var = 0;
  for (long d = 0; d < D; d++) mean += (z ? z[d] : x[d]) / D;
  for (long d = 0; d < D; d++) var += pow((z ? z[d] : x[d]) - mean, 2) / D;
  for (long d = 0; d < D; d++) y[d] = ((z ? z[d] : x[d]) - mean) / sqrt(var + 1e-5) * gain[d] + bias[d];
}
static double plain_dot(const float *w, const double *x, long n, double sum) {
  for (long i = 0; i < n; i++) sum += w[i] * x[i];
  return sum;
}
static void plain_group(const Half *p, long g, double *y) {
  long D = p->D, F = p->F, d = D / p->H, n = p->n, nk = p->nk;
  double *h = malloc(n * D * 8), *qkv = malloc(n * 3 * D * 8), *w = malloc((nk + 1) * 8), *attended = malloc(D * 8), *up = malloc(F * 8);
  for (long i = 0; i < n; i++) {
    plain_norm(p->z + cell(p, g, i) * D, 0, p->w[NORM_GAIN], p->w[NORM_BIAS], D, h + i * D);
    for (long e = 0; e < 3 * D; e++) qkv[i * 3 * D + e] = plain_dot(p->w[QKV] + e * D, h + i * D, D, p->w[QKV_BIAS][e]);
  }
  for (long i = 0; i < p->nq; i++) {
    double z1[4096], h2[4096];
    for (long head = 0; head < p->H; head++) {
      double sum = 0, top = -1e30;
      long at = (g * p->H + head) * nk * d;
#define KEY(j, e) (p->k ? p->k[at + (j) * d + (e)] : qkv[(j) * 3 * D + D + head * d + (e)])
#define VALUE(j, e) (p->v ? p->v[at + (j) * d + (e)] : qkv[(j) * 3 * D + 2 * D + head * d + (e)])
      for (long j = 0; j < nk; j++) {
        w[j] = 0;
        for (long e = 0; e < d; e++) w[j] += qkv[i * 3 * D + head * d + e] * KEY(j, e);
        w[j] *= score_factor(p, g, head);
        top = w[j] > top ? w[j] : top;
      }
      for (long j = 0; j < nk; j++) sum += w[j] = exp(w[j] - top);
      for (long e = 0; e < d; e++) {
        attended[head * d + e] = 0;
        for (long j = 0; j < nk; j++) attended[head * d + e] += w[j] / sum * VALUE(j, e);
      }
    }
    for (long e = 0; e < D; e++) z1[e] = p->z[cell(p, g, i) * D + e] + plain_dot(p->w[OUT] + e * D, attended, D, p->w[OUT_BIAS][e]);
    plain_norm(0, z1, p->w[NORM2_GAIN], p->w[NORM2_BIAS], D, h2);
    for (long f = 0; f < F; f++) {
      double u = plain_dot(p->w[UP] + f * D, h2, D, p->w[UP_BIAS][f]);
      up[f] = .5 * u * erfc(-u / sqrt(2));
    }
    for (long e = 0; e < D; e++) y[result(p, g, i) * D + e] = z1[e] + plain_dot(p->w[DOWN] + e * F, up, F, p->w[DOWN_BIAS][e]);
  }
  free(h), free(qkv), free(w), free(attended), free(up);
}

/* b tables of l rows and t tokens; `support` > 0: down the rows, to so many keys that came along. */
static void test_half(long level, long b, long l, long t, int rows, long support, long tokens, long D, long F, long H, long threads) {
  Half p = {.D = D, .F = F, .H = H, .rows = D < 256 ? 128 : 256, .threads = threads, .instructions = level};
  p.groups_per_tile = 1 + 40 / (rows ? l : t);
  if (rows) p.groups1 = b, p.groups2 = t, p.stride1 = l * t, p.stride2 = 1, p.step = t, p.n = p.nq = l, p.nk = support ? support : l;
  else p.groups1 = b * l, p.groups2 = 1, p.stride1 = t, p.step = 1, p.n = p.nk = t, p.nq = tokens;
  long groups = n_groups(&p), cells = groups * p.n, out = groups * p.nq, sizes[N_WEIGHTS], keys = groups * H * p.nk * (D / H);
  weight_sizes(&p, sizes);
  for (int i = 0; i < N_WEIGHTS; i++) {
    float *w = numbers(sizes[i], i == QKV || i == OUT || i == UP ? 1.7f / sqrtf(D) : i == DOWN ? 1.7f / sqrtf(F) : .3f);
    if (i == NORM_GAIN || i == NORM2_GAIN) for (long j = 0; j < sizes[i]; j++) w[j] += 1;
    p.w[i] = w, p.dw[i] = calloc(sizes[i], 4);
  }
  float *z = numbers(cells * D, 1), *scale = numbers(p.groups1 * H, .3f), *k = numbers(keys, 1);
  float *v = numbers(keys, 1), *dy = numbers(out * D, 1);
  for (long i = 0; i < p.groups1 * H; i++) scale[i] += 1;
  p.z = z, p.dy = dy;
  p.attended = numbers(out * D, 1);
  p.softmax_stats = numbers(groups * H * 2 * up16(p.nq), 1), p.y = numbers(out * D, 1), p.dz = numbers(cells * D, 1);
  if (rows) p.scale = scale, p.dscale = numbers(groups * H, 1);
  if (support) p.k = k, p.v = v, p.dk = numbers(keys, 1), p.dv = numbers(keys, 1);
  else if (rows) p.k_out = numbers(keys, 1), p.v_out = numbers(keys, 1), p.dk = numbers(keys, 0), p.dv = numbers(keys, 0);
  if (half_forward(&p)) printf("out of memory\n"), exit(1);
  double *right = malloc(out * D * 8), slope = 0, ours = 0;
  for (long g = 0; g < groups; g++) plain_group(&p, g, right);
  check("half a block", p.y, right, out * D, .02);
  if (half_backward(&p)) printf("out of memory\n"), exit(1);
  /* One step along dz must change the sum of y * dy by |dz|^2 times its length. */
  double size = 0, before = 0, after = 0, length;
  for (long i = 0; i < cells * D; i++) size += (double)p.dz[i] * p.dz[i];
  for (long i = 0; i < out * D; i++) before += right[i] * dy[i];
  length = 1e-3 / sqrt(size / (cells * D));
  for (long i = 0; i < cells * D; i++) z[i] += length * p.dz[i];
  for (long g = 0; g < groups; g++) plain_group(&p, g, right);
  for (long i = 0; i < out * D; i++) after += right[i] * dy[i];
  slope = (after - before) / length, ours = size;
  if (!(fabs(slope / ours - 1) < .05)) printf("gradient: %g instead of %g\n", ours, slope), exit(1);
  for (int i = 0; i < N_WEIGHTS; i++)
    for (long j = 0; j < sizes[i]; j++)
      if (!isfinite(p.dw[i][j])) printf("weight %d has no gradient\n", i), exit(1);
  for (int i = 0; i < N_WEIGHTS; i++) free((void *)p.w[i]), free(p.dw[i]);
  free(z), free(scale), free(k), free(v), free(dy), free(right);
  free(p.attended), free(p.softmax_stats), free(p.y), free(p.dz), free(p.dscale), free(p.k_out), free(p.v_out), free(p.dk), free(p.dv);
}
#include "vectors_end.h"

static void test_level(long level) {
  for (int add = 0; add < 2; add++) {
    long sizes[] = {16, 32, 48, 80};
    for (int m = 0; m < 4; m++)
      for (int n = 0; n < 4; n++) test_product(level, sizes[m], 32 * (1 + (m + n) % 3), sizes[n], add);
  }
  test_half(level, 2, 7, 3, 1, 0, 0, 32, 64, 2, 1);
  test_half(level, 2, 5, 3, 1, 9, 0, 32, 64, 4, 2);
  test_half(level, 1, 1, 1, 1, 1, 0, 32, 32, 2, 1);
  test_half(level, 1, 70, 2, 1, 33, 0, 64, 96, 4, 3);
  test_half(level, 1, 140, 1, 1, 0, 0, 64, 128, 1, 1);
  test_half(level, 2, 6, 17, 0, 0, 17, 32, 64, 2, 2);
  test_half(level, 2, 6, 17, 0, 0, 1, 32, 64, 2, 1);
  test_half(level, 1, 3, 1, 0, 0, 1, 64, 128, 4, 1);
  test_half(level, 1, 2, 9, 0, 0, 9, 256, 288, 2, 1);
}

int main(void) {
  if (kernel_open(WITH_AVX512, 0) != WITH_AVX512) {
    printf("this processor cannot run the kernel\n");
    return 77;
  }
  if (kernel_open(WITH_AMX, 1 << 4) != NO_KERNEL || half_size() != sizeof(Half)) return printf("kernel_open\n"), 1;
  test_gelu();
#ifdef EMULATED_TILES
  if (!unit_agrees()) return printf("the tiles disagree\n"), 1;
  test_level(WITH_AMX);
  if (configured || !tile_products) return printf("tiles left on, or never used\n"), 1;
#else
  test_level(WITH_AVX512);
  if (kernel_open(WITH_AMX, 0) == WITH_AMX) test_level(WITH_AMX);
#endif
  return 0;
}
