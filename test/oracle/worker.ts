/** Does the jobs that its parent sends, one by one. */

import { doJob, type Job } from './jobs.js'

// The reference ends each fault by throwing, ten thousand times a second: nobody looks at where from.
Error.stackTraceLimit = 0

process.on('message', (job: Job) => process.send?.(doJob(job)))
