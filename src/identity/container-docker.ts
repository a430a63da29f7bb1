import { request } from 'node:http';
import { json } from 'node:stream/consumers';
import type { Container, ContainerEngine } from './container-engine.js';

/** How long it may take, milliseconds: engines are slow while they start containers. */
const TIMEOUT = 10_000;

/** What is read of `GET /containers/{id}/json` (Docker Engine API, "Inspect a container"). */
interface Inspected {
  readonly Name?: string;
  readonly Config?: { readonly Image?: string; readonly Labels?: Record<string, string> | null };
}

/** Docker, and Podman, which answers as Docker does; at a unix socket. */
export function dockerEngine(socketPath: string): ContainerEngine {
  return {
    ask: (id) =>
      new Promise<Container | undefined>((resolve, reject) => {
        const asked = request({ socketPath, path: `/containers/${id}/json`, timeout: TIMEOUT, agent: false });
        asked.on('timeout', () => asked.destroy(new Error('no answer')));
        asked.on('error', reject);
        asked.on('response', (response) => {
          const { statusCode } = response;
          if (statusCode === 200)
            json(response).then((body) => resolve(containerOf(body as Inspected)), reject);
          else {
            response.resume();
            if (statusCode === 404) resolve(undefined);
            else reject(new Error(`the answer is ${statusCode}`));
          }
        });
        asked.end();
      }),
    [Symbol.dispose]() {},
  };
}

function containerOf({ Name = '', Config = {} }: Inspected): Container {
  return { name: Name.replace(/^\//, ''), image: Config.Image ?? '', labels: Config.Labels ?? {} };
}
