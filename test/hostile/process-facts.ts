/** What can be seen of a daemon from outside. */

import { readdirSync, readFileSync } from 'node:fs'

/** Memory of a process that is in RAM, MiB. */
export function residentMib(pid: number): number {
  const line = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))
  return Number(line?.[1]) / 1024
}

/** Open file descriptors of a process. */
export function openFiles(pid: number): number {
  return readdirSync(`/proc/${pid}/fd`).length
}

/** Lines of a daemon's log that tell of a bug: stacks, rejections that nobody handled, warnings of the engine. */
export function bugLines(log: string): string[] {
  const bug =
    /"level":(50|60)|Unhandled|unhandled|uncaught|Uncaught|\n\s+at |^\s+at |MaxListeners|Warning:|a bug of the daemon/
  return log.split('\n').filter((line) => bug.test(line))
}
