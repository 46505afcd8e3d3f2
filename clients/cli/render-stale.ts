/** A stale translation for people: what the device gets, what the tables say, why, and what was forgotten. */

import type { StaleTranslation, TranslationResult } from '../../proto/generated/types.js'
import { flagText, hex, type Message, messageText, printable } from './format.js'
import { nameOfValue } from './names.js'
import { sizeText } from './render-explanation.js'
import { indent, pairs } from './table.js'

const REASONS: readonly string[] = [
  '',
  'a SYNC or wait has completed since the change',
  'its frame was filled for another meanwhile',
  'a check found it still cached',
  'a valid entry took the place of a valid one, without an invalid one and an invalidation between (break before make)',
  'it was still cached when its owner ended',
]

const OK = 1

/** A report in lines. */
export function renderStale(report: StaleTranslation): string[] {
  const { number, cache, deviceName, sourceId, pasid, iova, access, hits } = report
  const who = deviceName === '' ? `source-id ${hex(sourceId)}` : printable(deviceName)
  const with_ = pasid === undefined ? '' : `, PASID ${pasid}`
  const owner = report.contextNumber === 0n ? '' : ` of context ${report.contextNumber}`
  return [
    `stale translation ${number}: ${printable(cache)} of ${who}${owner}${with_}, ${flagText('AccessFlag', access)} of ${hex(iova)}`,
    ...indent(
      pairs([
        ['device gets', resultText(report.cached)],
        ['tables say', resultText(report.fresh)],
        ...changedPair(report),
        ['forgotten', printable(report.ownCommand === '' ? report.neededCommand : report.ownCommand)],
        ...(report.ownCommand === '' ? [] : [['in hardware', printable(report.neededCommand)] as const]),
        ...(report.usualCommand === '' ? [] : [['or rather', printable(report.usualCommand)] as const]),
        ...sentPairs(report),
        ['reported', `${REASONS[report.reason] ?? ''}${timesText(hits)}`],
        ...whenPair(report),
      ]),
    ),
  ]
}

const timesText = (hits: bigint): string => (hits > 1n ? `; met ${hits} times` : '')

function changedPair({ changed }: StaleTranslation): (readonly [string, string])[] {
  if (changed === undefined) return []
  const { structure, level, location, address, before, after } = changed
  const name = level === undefined ? structure : `${structure}, level ${level}`
  const place = location === undefined ? '' : ` at ${messageText('RegionOffset', location as unknown as Message)}`
  const physical = address === undefined ? '' : ` at PA ${hex(address)}`
  const isTold = location !== undefined || address !== undefined
  const words = isTold ? `: ${hex(before)} -> ${hex(after)}` : ', an entry of the host’s'
  return [['changed', `${printable(name)}${place || physical}${words}`]]
}

function sentPairs({ sent }: StaleTranslation): (readonly [string, string])[] {
  if (sent.length === 0) return [['sent instead', 'nothing near it']]
  return sent.map(({ command, operation, why }, i) => {
    const at = operation === 0n ? '' : ` (operation ${operation})`
    return [i === 0 ? 'sent instead' : '', `${printable(command)}${at}: ${printable(why)}`] as const
  })
}

function whenPair(report: StaleTranslation): (readonly [string, string])[] {
  const { filledOperation, lastRightOperation, firstSeenOperation, reportedOperation } = report
  if (reportedOperation === 0n) return []
  const isSaid = lastRightOperation > filledOperation
  const right = isSaid ? `, right until ${lastRightOperation}` : ''
  return [
    [
      'operations',
      `filled ${filledOperation}${right}, first seen wrong ${firstSeenOperation}, reported ${reportedOperation}`,
    ],
  ]
}

function resultText(result: TranslationResult | undefined): string {
  if (result === undefined) return 'nothing'
  if (result.fault !== undefined) return printable(result.fault.name)
  if (result.outcome !== OK) return nameOfValue('DmaOutcome', result.outcome)
  if (result.permissions === 0) return 'no translation'
  const place = result.location === undefined ? '' : messageText('RegionOffset', result.location as unknown as Message)
  const physical = result.address === undefined ? '' : `PA ${hex(result.address)}`
  const where = [place, physical].filter((text) => text !== '').join(', ') || 'a page of the host’s'
  return `${where}  ${sizeText(result.pageSizeLog2)}  ${flagText('AccessFlag', result.permissions)}`
}
