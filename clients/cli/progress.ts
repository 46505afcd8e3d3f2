/** Progress of long work: a bar that redraws itself on a terminal, and nothing anywhere else. */

/** A bar for one piece of work. */
export interface Progress {
  /** Shows how much of the work is done. */
  update(done: number): void
  /** Takes the bar away. */
  end(): void
}

const WIDTH = 32

/** A bar on standard error when that is a terminal; otherwise silence. */
export function startProgress(label: string, total: number): Progress {
  if (!process.stderr.isTTY) return { update: () => {}, end: () => {} }
  let shown = -1
  return {
    update(done) {
      const part = total === 0 ? 1 : done / total
      const filled = Math.round(part * WIDTH)
      if (Math.round(part * 1000) === shown) return
      shown = Math.round(part * 1000)
      const bar = '█'.repeat(filled) + '░'.repeat(WIDTH - filled)
      process.stderr.write(`\r\x1b[K${label} ${bar} ${done.toLocaleString('en')} of ${total.toLocaleString('en')}`)
    },
    end() {
      process.stderr.write('\r\x1b[K')
    },
  }
}
