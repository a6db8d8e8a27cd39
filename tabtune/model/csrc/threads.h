/* Work shared among threads, and memory kept between calls. */
#pragma once
#include <pthread.h>
#include <stdlib.h>

#define MOST_THREADS 64

typedef void (*Task)(void *job, long from, long to, long who);
typedef struct {
  Task task;
  void *job;
  long n, parts, next;
} Work;

static void work(void *p) {
  Work *w = p;
  long i;
  while ((i = __atomic_fetch_add(&w->next, 1, __ATOMIC_SEQ_CST)) < w->parts)
    w->task(w->job, w->n * i / w->parts, w->n * (i + 1) / w->parts, i);
}
static void *work_thread(void *p) {
  work(p);
  return 0;
}

static long n_parts(long n, long threads) {
  long most = threads > MOST_THREADS ? MOST_THREADS : threads;
  return n < most ? n : most < 1 ? 1 : most;
}

/* `task` for 0..n in as many parts as there are threads. They are PyTorch's own where its library
   (OpenMP) can be seen: those are awake already, and two teams would get in each other's way.
   Elsewhere threads are started for each call. */
extern void GOMP_parallel(void (*f)(void *), void *job, unsigned threads, unsigned flags)
    __attribute__((weak));
static void share(Task task, void *job, long n, long threads) {
  Work w = {task, job, n, n_parts(n, threads), 0};
  pthread_t id[MOST_THREADS];
  int started[MOST_THREADS];
  if (w.parts > 1 && GOMP_parallel) {
    GOMP_parallel(work, &w, w.parts, 0);
    return;
  }
  for (int i = 1; i < w.parts; i++) started[i] = pthread_create(id + i, 0, work_thread, &w) == 0;
  work(&w);
  for (int i = 1; i < w.parts; i++)
    if (started[i]) pthread_join(id[i], 0);
}

/* A block of memory that the next call finds again, since new pages are slow to come. */
#define MOST_KEPT (64 << 20)
typedef struct {
  void *at;
  size_t size;
} Block;
static Block spare;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static Block borrow(size_t bytes) {
  pthread_mutex_lock(&lock);
  Block b = {0, 0};
  if (spare.size >= bytes) b = spare, spare = (Block){0, 0};
  pthread_mutex_unlock(&lock);
  return b.at ? b : (Block){aligned_alloc(64, (bytes + 63) / 64 * 64), bytes};
}
static void give_back(Block b) {
  pthread_mutex_lock(&lock);
  if (b.size > spare.size && b.size <= MOST_KEPT) {
    Block old = spare;
    spare = b, b = old;
  }
  pthread_mutex_unlock(&lock);
  free(b.at);
}
