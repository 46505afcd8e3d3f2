/** What a refused call says, as tests compare it. */

import { expect } from 'vitest'
import { refusal } from './world.js'

/** The refusal's errno and reason. */
export async function no(call: Promise<unknown>): Promise<[string, string]> {
  const { errnoName, reason } = await refusal(call)
  return [errnoName, reason]
}

/** An errno, and a reason that says so. */
export const matching = (errno: string, reason: RegExp) => [errno, expect.stringMatching(reason)]
