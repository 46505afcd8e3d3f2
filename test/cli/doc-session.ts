/** Sessions in documents: commands after `$ `, and the lines that each of them prints. */

import { expect } from 'vitest'
import type { Io } from '../../clients/cli/io.js'
import { run } from '../../clients/cli/program.js'
import type { Client } from '../../clients/node/index.js'

/** A command as its words, and the lines that follow it; `…` stands for lines that are not shown. */
interface Shown {
  readonly words: readonly string[]
  readonly lines: readonly string[]
}

/** The sessions of a document, each between its marks, as their commands. A quoted word may go on over several lines. */
export function sessionsOf(doc: string): Shown[][] {
  return [...doc.matchAll(/<!-- session -->([\s\S]*?)<!-- \/session -->/g)].map(([, text]) =>
    [...text.matchAll(/```console\n([\s\S]*?)```/g)].flatMap(([, block]) => commandsOf(block)),
  )
}

const commandsOf = (block: string): Shown[] =>
  block
    .split(/^\$ /m)
    .slice(1)
    .map((part) => {
      const command = /^(?:'[^']*'|[^'\n])*/.exec(part)?.[0] ?? ''
      const lines = part.slice(command.length).split('\n').slice(1, -1)
      return { words: wordsOf(command), lines }
    })

const wordsOf = (command: string): string[] =>
  [...command.matchAll(/'([^']*)'|\S+/g)].map(([word, quoted]) => quoted ?? word)

/** Runs a session in a context of its own and compares every line. A word `&` leaves a job to `wait`. */
export async function playSession(session: readonly Shown[], connect: () => Client): Promise<void> {
  const { context } = await connect().openContext()
  const jobs: Promise<readonly string[]>[] = []
  for (const { words, lines } of session) {
    const isJob = words.at(-1) === '&'
    const [program, ...rest] = isJob ? words.slice(0, -1) : words
    if (program === 'wait') {
      expect((await Promise.all(jobs)).flat()).toEqual(lines)
      continue
    }
    expect(program).toBe('iommuctl')
    const printed = iommuctl(rest, context, connect)
    if (isJob) jobs.push(printed)
    else compare(words, await printed, lines)
  }
}

function compare(words: readonly string[], printed: readonly string[], lines: readonly string[]): void {
  const isCut = lines.at(-1) === '…'
  const wanted = isCut ? lines.slice(0, -1) : lines
  expect({ words, printed: isCut ? printed.slice(0, wanted.length) : printed }).toEqual({ words, printed: wanted })
}

async function iommuctl(words: readonly string[], context: string, connect: () => Client): Promise<readonly string[]> {
  const printed: string[] = []
  const io: Io = {
    environment: { IOMMUD_CONTEXT: context },
    out: (line) => void printed.push(...line.split('\n').map((each) => each.trimEnd())),
    err: (line) => void printed.push(line),
    readFile: () => new Uint8Array(),
    readInput: async () => new Uint8Array(),
    connect,
  }
  expect({ words, exit: await run(words, io), printed }).toMatchObject({ words, exit: 0 })
  return printed
}
