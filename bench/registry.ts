/** Every row: whoever puts a module into `rows/` that exports `row` has added one. */

import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { inOrder } from './arguments.js'
import type { Row } from './row.js'

const ROWS = join(import.meta.dirname, 'rows')

/** All rows in the order of the table. */
export async function allRows(): Promise<readonly Row[]> {
  const files = readdirSync(ROWS).filter((file) => /^[^.]+\.(js|ts)$/.test(file))
  const modules = await Promise.all(files.map((file) => import(join(ROWS, file)) as Promise<{ row?: Row }>))
  const rows = modules.flatMap(({ row }) => row ?? [])
  return rows.sort((a, b) => inOrder(a.id, b.id))
}
