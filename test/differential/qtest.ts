/**
 * A QEMU that runs no guest: its memory and registers are read and written over the qtest protocol, one line a request
 * and one line an answer, in order. Requests may be sent long before their answers are read.
 */

import { type ChildProcessByStdio, spawn } from 'node:child_process'
import type { Readable, Writable } from 'node:stream'

/** An exchange that takes longer has hung; the longest of ours take less than a second on an idle machine. */
const PATIENCE_MS = 120_000

/** QEMU ended by itself, such as on an assertion of its own. */
export class QemuDied extends Error {}

/** One QEMU process. */
export class Qtest {
  readonly #child: ChildProcessByStdio<Writable, Readable, Readable>
  readonly #onExit: () => void
  #said = ''
  #rest = ''
  #answers: string[] = []
  #wanted = 0
  #resolve: ((answers: readonly string[]) => void) | null = null
  #reject: ((error: Error) => void) | null = null
  #dead: QemuDied | null = null

  /**
   * @param command program and arguments; those of the protocol are added
   * @param more what its environment needs beside ours
   */
  constructor(command: readonly string[], more: Readonly<Record<string, string>>) {
    const protocol = ['-accel', 'qtest', '-qtest', 'stdio', '-qtest-log', 'none', '-nodefaults', '-no-user-config']
    const quiet = ['-display', 'none', '-serial', 'none', '-monitor', 'none']
    const env = { ...process.env, ...more }
    this.#child = spawn(command[0], [...command.slice(1), ...protocol, ...quiet], {
      stdio: ['pipe', 'pipe', 'pipe'],
      env,
    })
    this.#onExit = () => this.#child.kill('SIGKILL')
    process.on('exit', this.#onExit)
    this.#child.stdout.setEncoding('latin1').on('data', (text: string) => this.#take(text))
    this.#child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.#said = (this.#said + text).slice(-2000)
    })
    this.#child.stdin.on('error', () => undefined)
    this.#child.on('error', (error) => this.#die(error.message))
    this.#child.on('close', (code, signal) => this.#die(`exit ${code ?? signal}: ${this.#said.trim()}`))
  }

  /** Sends requests, and answers what stands after each `OK`. One exchange at a time. */
  exchange(requests: readonly string[]): Promise<readonly string[]> {
    if (this.#dead !== null) return Promise.reject(this.#dead)
    if (this.#resolve !== null) throw new Error('an exchange is under way')
    if (requests.length === 0) return Promise.resolve([])
    return new Promise((resolve, reject) => {
      const watchdog = setTimeout(() => {
        this.#child.kill('SIGKILL')
        this.#die(`no answer for ${PATIENCE_MS / 1000} s`)
      }, PATIENCE_MS)
      this.#wanted = requests.length
      this.#resolve = (answers) => {
        clearTimeout(watchdog)
        resolve(answers)
      }
      this.#reject = (error) => {
        clearTimeout(watchdog)
        reject(error)
      }
      this.#child.stdin.write(`${requests.join('\n')}\n`)
    })
  }

  /** Ends the process; an exchange under way fails. */
  async close(): Promise<void> {
    process.off('exit', this.#onExit)
    if (this.#dead !== null) return
    await new Promise<void>((resolve) => {
      this.#child.on('close', () => resolve())
      this.#child.kill('SIGKILL')
    })
  }

  #take(text: string): void {
    const lines = (this.#rest + text).split('\n')
    this.#rest = lines.pop() as string
    for (const line of lines) {
      // Interrupts are told in between.
      if (line.startsWith('IRQ ')) continue
      if (!line.startsWith('OK')) {
        this.#said += `${line}\n`
        continue
      }
      this.#answers.push(line.slice(3))
    }
    if (this.#resolve === null || this.#answers.length < this.#wanted) return
    const resolve = this.#resolve
    const answers = this.#answers
    this.#answers = []
    this.#resolve = null
    this.#reject = null
    resolve(answers)
  }

  #die(why: string): void {
    this.#dead ??= new QemuDied(`QEMU went away: ${why}`)
    this.#reject?.(this.#dead)
    this.#resolve = null
    this.#reject = null
  }
}
