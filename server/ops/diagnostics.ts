/**
 * The listener for probes and scrapers, apart from the one for clients, so that a daemon that is draining or drowning
 * in calls still answers: /livez (the event loop turns), /readyz (calls are taken), /metrics, /version.
 */

import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { Metrics } from './metrics.js'

/** What the listener tells. */
export interface DiagnosticsSources {
  /** Undefined when calls are taken, else why not. */
  notReady(): string | undefined
  readonly version: Readonly<Record<string, string>>
  readonly metrics: Metrics
}

/** A server that is not listening yet; `main` chooses the address. */
export function diagnosticsServer(sources: DiagnosticsSources): Server {
  return createServer((request, response) => {
    answer(request, response, sources).catch(() => response.destroy())
  })
}

async function answer(request: IncomingMessage, response: ServerResponse, sources: DiagnosticsSources): Promise<void> {
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    response.setHeader('allow', 'GET, HEAD')
    return send(response, 405, 'text/plain; charset=utf-8', 'only GET is answered here\n')
  }
  switch (request.url?.split('?')[0]) {
    case '/livez':
      return send(response, 200, 'text/plain; charset=utf-8', 'ok\n')
    case '/readyz': {
      const reason = sources.notReady()
      return send(response, reason === undefined ? 200 : 503, 'text/plain; charset=utf-8', `${reason ?? 'ok'}\n`)
    }
    case '/metrics':
      return send(response, 200, sources.metrics.contentType, await sources.metrics.text())
    case '/version':
      return send(response, 200, 'application/json', `${JSON.stringify(sources.version)}\n`)
    default:
      return send(response, 404, 'text/plain; charset=utf-8', 'there are /livez, /readyz, /metrics and /version\n')
  }
}

function send(response: ServerResponse, status: number, type: string, body: string): void {
  response.writeHead(status, { 'content-type': type, 'cache-control': 'no-store' }).end(body)
}
