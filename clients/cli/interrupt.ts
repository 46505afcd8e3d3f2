/** Ctrl-C in the middle of work that has something to close. */

/** The work was interrupted by a signal. */
export class Interrupted extends Error {
  /** Exit status, as shells count it: 128 and the signal's number. */
  readonly exit: number

  constructor(exit: number) {
    super('interrupted')
    this.exit = exit
  }
}

const SIGNALS = { SIGINT: 130, SIGTERM: 143 } as const

/** Does work that ends early, by the promise it is given, when a signal comes. A second signal ends the process. */
export async function untilInterrupted<T>(work: (interrupted: Promise<never>) => Promise<T>): Promise<T> {
  let interrupt: (error: Interrupted) => void = () => {}
  const interrupted = new Promise<never>((_, reject) => {
    interrupt = reject
  })
  interrupted.catch(() => {})
  const handlers = Object.entries(SIGNALS).map(([signal, exit]) => {
    const handler = (): void => interrupt(new Interrupted(exit))
    process.once(signal, handler)
    return { signal, handler }
  })
  try {
    return await work(interrupted)
  } finally {
    for (const { signal, handler } of handlers) process.off(signal, handler)
  }
}
