import { Agent as HttpAgent, type IncomingMessage, request as requestHttp } from 'node:http';
import { Agent as HttpsAgent, request as requestHttps } from 'node:https';
import { finished } from 'node:stream';
import { text } from 'node:stream/consumers';
import type { Cluster } from './kubernetes-credentials.js';

/** An answer of the API server that is not the one hoped for. */
export class ApiError extends Error {
  /** Of HTTP, or of the `Status` object in a watch. */
  readonly status: number;
  /** When it would like to be asked again, milliseconds; undefined if it does not say. */
  readonly retryAfter: number | undefined;

  constructor(status: number, message: string, retryAfter?: number) {
    super(message);
    this.name = 'ApiError';
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

/** One line of a watch (kubernetes.io, "Kubernetes API Concepts", efficient detection of changes). */
export interface WatchEvent {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK' | 'ERROR';
  readonly object: Record<string, unknown>;
}

export interface RequestOptions {
  readonly signal: AbortSignal;
  /** @default application/json */
  readonly accept?: string;
}

/** How long a server is waited for, milliseconds. */
export interface Patience {
  /**
   * Until a connection is made. Else the kernel tries for two minutes, and longer and longer between, which is what an
   * agent meets that starts before the cluster's addresses lead anywhere.
   */
  readonly connect: number;
  /** Until it says something. A watch of what never changes is quiet until it ends. */
  readonly silence: number;
}

/** The few requests that are made of an API server: read-only, over kept connections, with the token of the moment. */
export class KubernetesApi implements Disposable {
  readonly #cluster: Cluster;
  readonly #patience: Patience;
  readonly #agent: HttpAgent;

  constructor(cluster: Cluster, patience: Patience) {
    this.#cluster = cluster;
    this.#patience = patience;
    const options = { keepAlive: true, keepAliveMsecs: 15_000 };
    this.#agent =
      cluster.server.protocol === 'https:'
        ? new HttpsAgent({ ...options, ...cluster.tls })
        : new HttpAgent(options);
  }

  get server(): string {
    return this.#cluster.server.href;
  }

  /** An object. Rejects with an ApiError or an error of the connection. */
  async get<T>(path: string, options: RequestOptions): Promise<T> {
    const response = await this.#request(path, options);
    return JSON.parse(await text(response)) as T;
  }

  /**
   * Events as they come, those that came together in one array; first an empty one, when the server has agreed. Ends
   * when the server ends it. Throws as `get`.
   */
  async *watch(path: string, options: RequestOptions): AsyncGenerator<WatchEvent[]> {
    const response = await this.#request(path, options);
    try {
      yield [];
      for await (const lines of linesOf(response)) yield lines.map((line) => JSON.parse(line) as WatchEvent);
    } finally {
      response.destroy();
    }
  }

  /** Tries once more with the token as it is now, if the one it had was not accepted. */
  async #request(path: string, options: RequestOptions): Promise<IncomingMessage> {
    const first = await this.#send(path, options, this.#cluster.token());
    const response = first.statusCode === 401 ? await this.#again(first, path, options) : first;
    const { statusCode: status = 0, headers } = response;
    if (status === 200) return response;
    const body = await text(response);
    const after = Number(headers['retry-after']);
    throw new ApiError(status, `${status} ${messageOf(body)}`, after >= 0 ? after * 1000 : undefined);
  }

  async #again(refused: IncomingMessage, path: string, options: RequestOptions): Promise<IncomingMessage> {
    refused.resume();
    return this.#send(path, options, this.#cluster.token(true));
  }

  #send(path: string, options: RequestOptions, token: string | undefined): Promise<IncomingMessage> {
    const { signal, accept = 'application/json' } = options;
    const { server } = this.#cluster;
    const url = new URL(server.pathname.replace(/\/$/, '') + path, server);
    const headers = {
      accept,
      'user-agent': 'meshtap',
      ...(token !== undefined && { authorization: `Bearer ${token}` }),
    };
    const [send, connected] =
      url.protocol === 'https:'
        ? ([requestHttps, 'secureConnect'] as const)
        : ([requestHttp, 'connect'] as const);
    const { connect, silence } = this.#patience;
    return new Promise((resolve, reject) => {
      const asked = send(url, { agent: this.#agent, headers, signal, timeout: silence }, resolve);
      asked.on('timeout', () => {
        asked.destroy(new Error(`${server.host} has said nothing for ${silence / 1000} s`));
      });
      asked.once('socket', (socket) => {
        if (asked.reusedSocket) return;
        const late = setTimeout(() => {
          asked.destroy(new Error(`${server.host} let nobody connect for ${connect / 1000} s`));
        }, connect);
        for (const [emitter, event] of [
          [socket, connected],
          [asked, 'close'],
        ] as const)
          emitter.once(event, () => clearTimeout(late));
      });
      asked.on('error', (error: NodeJS.ErrnoException) => {
        // The server closed a kept connection just when it was taken for this.
        if (asked.reusedSocket && error.code === 'ECONNRESET') resolve(this.#send(path, options, token));
        else reject(error);
      });
      asked.end();
    });
  }

  [Symbol.dispose](): void {
    this.#agent.destroy();
  }
}

/** Characters that may wait to be read. */
const AHEAD = 1 << 20;

/**
 * The lines of a stream, each time all that came since the last: whoever is slow gets them in fewer and larger pieces.
 */
async function* linesOf(stream: IncomingMessage): AsyncGenerator<string[]> {
  let text = '';
  let ended = false;
  let failure: Error | undefined;
  let wake = () => {};
  stream.setEncoding('utf8');
  stream.on('data', (chunk: string) => {
    text += chunk;
    if (text.length > AHEAD) stream.pause();
    wake();
  });
  finished(stream, (error) => {
    ended = true;
    failure = error ?? undefined;
    wake();
  });
  for (;;) {
    const end = text.lastIndexOf('\n');
    if (end >= 0) {
      const lines = text.slice(0, end).split('\n');
      text = text.slice(end + 1);
      stream.resume();
      yield lines.filter(Boolean);
    } else if (failure) throw failure;
    else if (ended) return;
    else {
      // A single object may be larger than all that may wait.
      stream.resume();
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
  }
}

/** What a `Status` object says, or the beginning of whatever came instead. */
function messageOf(body: string): string {
  try {
    const { message } = JSON.parse(body) as { message?: unknown };
    if (typeof message === 'string') return message;
  } catch {
    // Something in between answered.
  }
  return body.slice(0, 200).trim();
}
