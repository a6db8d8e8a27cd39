/* Half a block of Mitra, forward and back, for training in bfloat16 on CPUs.

   Built by setup.py with the flags of any x86-64 processor; loaded by tabtune/model/kernel.py,
   which calls `kernel_open` first. On other machines than Linux on x86-64 there is only that. */

#if defined(__linux__) && defined(__x86_64__) && \
    ((defined(__GNUC__) && __GNUC__ >= 12) || (defined(__clang__) && __clang_major__ >= 14))

#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "block.h"
#include "vectors_begin.h"

int half_forward(const Half *p) { return run_forward(p); }
int half_backward(const Half *p) { return run_backward(p); }
long half_size(void) { return sizeof(Half); }

/* Does the matrix unit give what the other way gives? */
static int unit_agrees(void) {
  static float x[48 * 64], c[2][48 * 48];
  static bf16 left[48 * 64], right[48 * 64];
  for (int i = 0; i < 48 * 64; i++) x[i] = (float)(i % 17 - 8) / 8;
  pack_rows(x, 64, 48, 64, left);
  pack_weight(x, 48, 64, right);
  product_avx512(left, 64, 48, right, 64, 64, 48, c[0], 48, 0);
  matrix_unit_on();
  product_amx(left, 64, 48, right, 64, 64, 48, c[1], 48, 0);
  matrix_unit_off();
  for (int i = 0; i < 48 * 48; i++)
    if (fabsf(c[0][i] - c[1][i]) > 1e-3f) return 0;
  return 1;
}

#include "vectors_end.h"

/* ---- From here on nothing needs more than any x86-64 has ---- */

/* A bit of CPUID's answer, and whether the operating system keeps these registers. */
static int has(unsigned leaf, unsigned subleaf, int reg, int bit) {
  unsigned r[4];
  return __get_cpuid_count(leaf, subleaf, r, r + 1, r + 2, r + 3) && r[reg] >> bit & 1;
}
static int system_keeps(unsigned registers) {
  unsigned low, high;
  if (!has(1, 0, 2, 27)) return 0; /* no XGETBV */
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (low & registers) == registers;
}
static int may_use_tiles(void) { /* Linux wants to be asked once in each process */
  return syscall(SYS_arch_prctl, 0x1023, 18) == 0;
}

/* Which instructions a call may use: NO_KERNEL, WITH_AVX512 or WITH_AMX, `most` at most. Nothing
   is kept: each call names its own. Bits of `lacks` hide what the processor has: AVX-512 F, BW, VL,
   DQ, BF16, AMX's tiles, AMX's bfloat16. */
int kernel_open(int most, unsigned lacks) {
  enum { EAX, EBX, ECX, EDX };
  int found[] = {has(7, 0, EBX, 16), has(7, 0, EBX, 30), has(7, 0, EBX, 31), has(7, 0, EBX, 17),
                 has(7, 1, EAX, 5),  has(7, 0, EDX, 24), has(7, 0, EDX, 22)};
  for (int i = 0; i < 7; i++) found[i] &= !(lacks >> i & 1);
  int avx512 = found[0] && found[1] && found[2] && found[3] && found[4] && system_keeps(0xe6);
  int amx = avx512 && found[5] && found[6] && system_keeps(0x600e6);
  if (most < WITH_AVX512 || !avx512) return NO_KERNEL;
  return most >= WITH_AMX && amx && may_use_tiles() && unit_agrees() ? WITH_AMX : WITH_AVX512;
}

#else

int half_forward(const void *p) { return p ? 2 : 3; }
int half_backward(const void *p) { return p ? 2 : 3; }
long half_size(void) { return 0; }
int kernel_open(int most, unsigned lacks) {
  (void)most, (void)lacks;
  return 0;
}

#endif
