/**
 * One row in a process of its own, so that none inherits what another has taught the compiler, or its garbage:
 * `node one.js ID [--quick]` prints the row as JSON. Everything that a daemon has is alive and warm before it begins.
 */

import { type Contender, type RaceOptions, race } from './measure.js'
import { compilePeer, PEERS, Peer } from './peer.js'
import { allRows } from './registry.js'
import { type Bench, failedRow, tableRow } from './row.js'
import { daemonShape } from './shape.js'

const [id, ...flags] = process.argv.slice(2)
const quick = flags.includes('--quick')
const row = (await allRows()).find((row) => row.id === id)
if (row === undefined) throw new Error(`there is no row ${id}`)

const say = (text: string): void => {
  process.stderr.write(`${id} ${text}\n`)
}
const peers: Peer[] = []
const options: RaceOptions = { turns: quick ? 5 : 9, turnMs: quick ? 10 : 150, agree: true, isWall: false }
const bench: Bench = {
  quick,
  turns: options.turns,
  turnMs: options.turnMs,
  async peer(name, words) {
    const peer = await Peer.start(name, compilePeer(PEERS, name), words)
    peers.push(peer)
    return peer
  },
  race: (contenders: readonly Contender[], own) => race(contenders, { ...options, ...own }),
  say,
}

const shape = daemonShape()
const began = performance.now()
const result = await row.run(bench).then(
  (found) => tableRow(row, found, quick),
  (error: unknown) => {
    say(error instanceof Error ? (error.stack ?? error.message) : String(error))
    return failedRow(row, error)
  },
)
for (const peer of peers) peer.stop()
// What is alive beside a row stays so until its end.
if (shape.touch() === 0) throw new Error('the shape of the daemon has gone')
const seconds = Math.round((performance.now() - began) / 100) / 10
process.stdout.write(JSON.stringify({ ...result, detail: { ...result.detail, seconds } }), () => process.exit(0))
