import { describe, expect, it } from 'vitest'
import { IotlbReplay, TlbReplay } from '../../bench/replay.js'
import { CAPTURES } from '../../bench/shape.js'
import { readTrace, TRACE_ROW, TRACED } from '../../bench/traces.js'

const FIXTURES = CAPTURES.replace(/^.*(?=test\/fixtures)/, '')

describe('the first 200,000 rows of a real guest', () => {
  it.each([
    ['A', 155_847, 29_543, TlbReplay],
    ['F', 149_707, 33_520, IotlbReplay],
  ] as const)(
    '%s have %i DMAs and %i commands, and our cache answers each with the recorded address',
    (guest, dmas, commands, Replay) => {
      const trace = readTrace(guest, FIXTURES)
      expect([trace.dmas, trace.commands, trace.rows.length / TRACE_ROW]).toEqual([dmas, commands, dmas + commands])
      const replay = new Replay(trace)
      expect([replay.replay(), replay.replay()]).toEqual([trace.sum, trace.sum])
    },
  )

  it('need their commands: without them another address would be answered', () => {
    const trace = readTrace('A', FIXTURES)
    const rows = trace.rows.slice()
    for (let at = 0; at < rows.length; at += TRACE_ROW) if (rows[at] === TRACED.COMMAND) rows[at + 1] = 0
    expect(new TlbReplay({ ...trace, rows }).replay()).not.toBe(trace.sum)
  })
})
