/** Commands in words, field by field; read by hand, as in `recording.ts`. */

import { bits, type Command, nameOf, type Row } from './recording.js'

const hex = (value: number | bigint): string => `0x${value.toString(16)}`

/** Fields of the commands that this driver gives, by name. */
const FIELDS: Readonly<Record<string, (command: Command) => string>> = {
  PREFETCH_CONFIG: ({ dw0 }) => `SID=${hex(bits(dw0, 63, 32))}`,
  CFGI_STE: ({ dw0, dw1 }) => `SID=${hex(bits(dw0, 63, 32))} Leaf=${bits(dw1, 0, 0)}`,
  CFGI_CD: ({ dw0, dw1 }) => `SID=${hex(bits(dw0, 63, 32))} SSID=${bits(dw0, 31, 12)} Leaf=${bits(dw1, 0, 0)}`,
  CFGI_CD_ALL: ({ dw0 }) => `SID=${hex(bits(dw0, 63, 32))}`,
  CFGI_ALL: () => '',
  TLBI_NH_ALL: ({ dw0 }) => `VMID=${bits(dw0, 47, 32)}`,
  TLBI_NH_ASID: ({ dw0 }) => `VMID=${bits(dw0, 47, 32)} ASID=${bits(dw0, 63, 48)}`,
  TLBI_NH_VA: (command) => `VMID=${bits(command.dw0, 47, 32)} ASID=${bits(command.dw0, 63, 48)} ${range(command)}`,
  TLBI_S12_VMALL: ({ dw0 }) => `VMID=${bits(dw0, 47, 32)}`,
  TLBI_S2_IPA: (command) => `VMID=${bits(command.dw0, 47, 32)} ${range(command)}`,
  TLBI_NSNH_ALL: () => '',
  TLBI_EL2_ALL: () => '',
  ATC_INV: ({ dw0, dw1 }) => {
    const substream = bits(dw0, 11, 11) === 1 ? ` SSID=${bits(dw0, 31, 12)}${bits(dw0, 9, 9) === 1 ? ' G' : ''}` : ''
    return `SID=${hex(bits(dw0, 63, 32))}${substream} Size=${bits(dw1, 5, 0)} ${hex((dw1 >> 12n) << 12n)}`
  },
}

/** The range as the manual codes it, and the pages that it says. */
function range({ dw0, dw1 }: Command): string {
  const address = hex((dw1 >> 12n) << 12n)
  const leaf = `Leaf=${bits(dw1, 0, 0)}`
  if (bits(dw1, 11, 10) === 0) return `${leaf} ${address}`
  const [num, scale, ttl] = [bits(dw0, 16, 12), bits(dw0, 25, 20), bits(dw1, 9, 8)]
  return `NUM=${num} SCALE=${scale} TTL=${ttl} TG=${bits(dw1, 11, 10)} ${leaf} ${address}`
}

/** One line for each command; a SYNC stands behind what it ends. */
export function spelled(commands: readonly Command[]): readonly string[] {
  const lines: string[] = []
  for (const command of commands) {
    const name = nameOf(command)
    const before = lines.at(-1)
    if (name === 'SYNC' && before !== undefined && !before.endsWith('SYNC')) lines[lines.length - 1] = `${before}; SYNC`
    else lines.push(`${name} ${FIELDS[name]?.(command) ?? ''}`.trim())
  }
  return lines
}

/** Lines side by side. What is alike is told once. */
export function sideBySide(
  pairs: readonly (readonly [theirs: string | null, ours: string | null])[],
): readonly string[] {
  return pairs.map(([theirs, ours]) => {
    if (theirs === ours) return `  ${theirs}`
    return theirs === null ? `+ ${ours}` : ours === null ? `- ${theirs}` : `- ${theirs}\n+ ${ours}`
  })
}

/** Names of registers that are written. */
const NAMES: Readonly<Record<number, string>> = {
  32: 'CR0',
  40: 'CR1',
  44: 'CR2',
  80: 'IRQ_CTRL',
  104: 'GERROR_IRQ_CFG0',
  128: 'STRTAB_BASE',
  136: 'STRTAB_BASE_CFG',
  144: 'CMDQ_BASE',
  152: 'CMDQ_PROD',
  156: 'CMDQ_CONS',
  160: 'EVENTQ_BASE',
  168: 'EVENTQ_PROD',
  172: 'EVENTQ_CONS',
  176: 'EVENTQ_IRQ_CFG0',
  192: 'PRIQ_BASE',
  200: 'PRIQ_PROD',
  204: 'PRIQ_CONS',
  208: 'PRIQ_IRQ_CFG0',
}

/** One line for each row. */
export const rowLines = (rows: readonly Row[]): readonly string[] =>
  rows.map((row) => {
    if (row.kind === 'command') return spelled([row.command])[0]
    return registerLine(row.write.offset, row.write.value)
  })

/** A write, without the address of a table or queue. */
function registerLine(offset: number, value: bigint): string {
  const isBase = NAMES[offset]?.endsWith('BASE') === true
  return `${NAMES[offset] ?? offset} = 0x${(isBase ? value & ~0xf_ffff_ffff_ffe0n : value).toString(16)}`
}
