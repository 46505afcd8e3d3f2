/** Why a recorded call is not compared. Every rule is one sentence of how the typed contract differs from the ioctls. */
export const RULES = {
  command: 'the command itself is refused: ENOTTY is the ioctl door’s',
  size: 'the struct is shorter than its first layout: EINVAL of the ioctl door',
  tail: 'bytes beyond the struct that the kernel knows: E2BIG of the ioctl door',
  reserved: 'a reserved field is not zero: typed messages have none',
  pointer: 'a data pointer leads nowhere: typed messages carry the data itself',
  data: 'driver data of a length, or of a type, that has no typed message, or data where the typed call takes none',
  'entry length': 'invalidation entries of another length, or none where some are counted: typed entries are whole',
  operation: 'an option or VFIO_IOAS operation that is neither get, set nor clear: each is a method of its own',
  CERROR_ILL:
    'a guest command at which the unit’s queue would stop (SSec set, or the reserved range code): refused with EIO, where the kernel passes it on and QEMU’s unit forgives it',
  queues: 'fault, event and hardware queues are not offered; stand-ins keep their ids and what they hold',
  'not bound': 'the VFIO file is not bound: typed calls name a device by the id that binding gives',
  descriptor: 'a descriptor that is no iommufd, or a token: BindDevice names the device, and the context is the call’s',
  'VFIO flags': 'flags or sizes of a VFIO struct: attaching and detaching RID and PASID are methods of their own',
  'info flags': 'unknown flags of GET_HW_INFO: the typed call names the wanted type and has no flags',
  'PASID 0': 'a PASID struct with PASID 0 means the RID: the typed call refuses it',
  'PASID 2^31': 'the test driver goes around VFIO’s table of PASIDs, whose end is ENOSPC in the typed call',
  file: 'opening and closing a VFIO file: closing unbinds, which is compared by what follows',
  'test device': 'a call of the kernel’s test driver that only looks at that driver’s own state',
  'mock type': 'user domains, vIOMMUs and data of the test driver’s own types, made by hand to keep ids in step',
} as const

/** Name of a rule. */
export type Rule = keyof typeof RULES

/** Thrown by a translation for a call that is not compared. */
export class NotCompared extends Error {
  readonly rule: Rule
  /** The call succeeded in the recording, and its effect has been made by other means. */
  readonly isInStep: boolean

  /** How the other means failed. */
  readonly outOfStep: string | undefined

  constructor(rule: Rule, isInStep = false, outOfStep?: string) {
    super(RULES[rule])
    this.rule = rule
    this.isInStep = isInStep
    this.outOfStep = outOfStep
  }
}

/** What became of each call of a recording. */
export class Tally {
  compared = 0
  readonly skipped = new Map<Rule, number>()
  readonly differences: string[] = []
  /** Compared calls by name: all, and those that succeeded. */
  readonly byCall = new Map<string, { all: number; succeeded: number }>()

  leaveOut(rule: Rule): void {
    this.skipped.set(rule, (this.skipped.get(rule) ?? 0) + 1)
  }

  count(call: string, succeeded: boolean): void {
    this.compared++
    const counts = this.byCall.get(call) ?? { all: 0, succeeded: 0 }
    counts.all++
    if (succeeded) counts.succeeded++
    this.byCall.set(call, counts)
  }

  get matched(): number {
    return this.compared - this.differences.length
  }

  get skippedCount(): number {
    return [...this.skipped.values()].reduce((sum, count) => sum + count, 0)
  }
}

/** The tallies of several recordings as one table for a person. */
export function tableOf(tallies: ReadonlyMap<string, Tally>): string {
  const rows: string[][] = [['', ...tallies.keys()]]
  const row = (name: string, of: (tally: Tally) => number): void => {
    rows.push([name, ...[...tallies.values()].map((tally) => String(of(tally)))])
  }
  row('calls', (tally) => tally.compared + tally.skippedCount)
  row('compared', (tally) => tally.compared)
  row('matched', (tally) => tally.matched)
  row('skipped', (tally) => tally.skippedCount)
  for (const rule of Object.keys(RULES) as Rule[]) row(`  ${rule}`, (tally) => tally.skipped.get(rule) ?? 0)
  const widths = rows[0].map((_, column) => Math.max(...rows.map((cells) => cells[column].length)))
  return rows
    .map((cells) =>
      cells.map((cell, at) => (at === 0 ? cell.padEnd(widths[at]) : cell.padStart(widths[at]))).join('  '),
    )
    .join('\n')
}
