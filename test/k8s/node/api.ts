import { request } from 'node:https';
import { text } from 'node:stream/consumers';
import type { Access } from './components.js';

export interface Answer {
  readonly status: number;
  readonly body: string;
}

/** The API server, asked by HTTP and as administrator, for what kubectl does not show as it is sent. */
export class Api {
  readonly #access: Pick<Access, 'server' | 'ca' | 'token'>;

  constructor(access: Pick<Access, 'server' | 'ca' | 'token'>) {
    this.#access = access;
  }

  /** A whole answer, whatever its status. */
  get(path: string, { timeout = 60_000, accept = 'application/json' } = {}): Promise<Answer> {
    const { server, ca, token } = this.#access;
    const options = { ca, timeout, headers: { authorization: `Bearer ${token}`, accept } };
    return new Promise((resolve, reject) => {
      const asked = request(new URL(path, server), options, (response) => {
        text(response).then((body) => resolve({ status: response.statusCode ?? 0, body }), reject);
      });
      asked.once('timeout', () => asked.destroy(new Error(`no answer from ${path}`)));
      asked.once('error', reject).end();
    });
  }

  async list<T>(path: string): Promise<T[]> {
    const { status, body } = await this.get(path);
    if (status !== 200) throw new Error(`${path}: ${status} ${body}`);
    return JSON.parse(body).items;
  }
}
