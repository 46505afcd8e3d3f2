/**
 * What a thread's work has cost. Node's own `threadCpuUsage` moves on once in some milliseconds where the kernel counts
 * by its tick, so the C library's clock is asked.
 */

import koffi from 'koffi'

const CLOCK_THREAD_CPUTIME_ID = 3
const words = new BigInt64Array(2)

const clockGetTime = (() => {
  try {
    return koffi.load('libc.so.6').func('int clock_gettime(int clock, _Out_ int64_t *time)')
  } catch {
    // Another C library: time on the wall must do.
    return null
  }
})()

/** CPU time of this thread, in nanoseconds. */
export function cpuNs(): number {
  if (clockGetTime === null) return wallNs()
  clockGetTime(CLOCK_THREAD_CPUTIME_ID, words)
  return Number(words[0]) * 1e9 + Number(words[1])
}

/** Time on the wall, in nanoseconds. */
export const wallNs = (): number => performance.now() * 1e6
