/** The session in docs/raw-unit.md is what the command line does: each command is run, each line compared. */

import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { describe, expect, it } from 'vitest'
import type { Io } from '../../clients/cli/io.js'
import { run } from '../../clients/cli/program.js'
import { startDaemon } from '../../clients/node/testing.js'

const DOC = readFileSync(resolve(import.meta.dirname, '../../docs/raw-unit.md'), 'utf8')
const PROMPT = '$ iommuctl '

/** A command as its words, and the lines that follow it; `…` stands for lines that are not shown. */
interface Shown {
  readonly words: readonly string[]
  readonly lines: readonly string[]
}

/** Commands of the session's blocks. A quoted word may go on over several lines. */
function session(): Shown[] {
  const text = DOC.slice(DOC.indexOf('<!-- session -->'), DOC.indexOf('<!-- /session -->'))
  const blocks = [...text.matchAll(/```console\n([\s\S]*?)```/g)].map(([, block]) => block)
  return blocks.flatMap((block) =>
    block
      .split(new RegExp(`^${PROMPT.replace('$', '\\$')}`, 'm'))
      .slice(1)
      .map((part) => {
        const command = /^(?:'[^']*'|[^'\n])*/.exec(part)?.[0] ?? ''
        const lines = part.slice(command.length).split('\n').slice(1, -1)
        return { words: wordsOf(command), lines }
      }),
  )
}

const wordsOf = (command: string): string[] =>
  [...command.matchAll(/'([^']*)'|\S+/g)].map(([word, quoted]) => quoted ?? word)

describe('the session in docs/raw-unit.md', () => {
  it('is what iommuctl prints', async () => {
    const daemon = await startDaemon({ inProcess: true })
    const { context } = await daemon.client.openContext({})
    const shown = session()
    expect(shown.length).toBeGreaterThan(14)
    for (const { words, lines } of shown) {
      const printed: string[] = []
      const io: Io = {
        environment: { IOMMUD_CONTEXT: context },
        out: (line) => void printed.push(...line.split('\n').map((each) => each.trimEnd())),
        err: (line) => void printed.push(line),
        readFile: () => new Uint8Array(),
        readInput: async () => new Uint8Array(),
        connect: () => daemon.connect(),
      }
      expect({ words, exit: await run(words, io), printed }).toMatchObject({ words, exit: 0 })
      const isCut = lines.at(-1) === '…'
      const wanted = isCut ? lines.slice(0, -1) : lines
      expect({ words, printed: isCut ? printed.slice(0, wanted.length) : printed }).toEqual({ words, printed: wanted })
    }
    await daemon.stop()
  })
})
