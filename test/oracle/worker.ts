/** Does the jobs that its parent sends, one by one. */

import { doJob, type Job } from './jobs.js'

process.on('message', (job: Job) => process.send?.(doJob(job)))
