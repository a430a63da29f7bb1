/**
 * nghttp2's server, which speaks HTTP/2 with prior knowledge and by upgrade.
 *
 * @module
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { freePort } from './free-port.js';
import type { Scope } from './scope.js';

/** Serves `/small` (five bytes) and `/large` (300,000); all else is 404. Ends with its scope. Returns its URL. */
export async function nghttpd(scope: Scope): Promise<string> {
  const directory = mkdtempSync(join(tmpdir(), 'meshtap-nghttpd-'));
  writeFileSync(join(directory, 'small'), 'small');
  writeFileSync(join(directory, 'large'), Buffer.alloc(300_000, 'x'));
  const port = await freePort();
  const command = ['nghttpd', '--no-tls', '-a', '127.0.0.1', '-d', directory, String(port)];
  scope
    .start('server', command, { stdio: 'ignore' })
    .once('exit', () => rmSync(directory, { recursive: true }));
  for (let attempt = 0; attempt < 500; attempt++) {
    if (await answers(port)) return `http://127.0.0.1:${port}`;
    await sleep(20);
  }
  throw new Error('nghttpd does not listen');
}

function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => resolve(true));
    socket.on('error', () => resolve(false));
    socket.on('connect', () => socket.destroy());
  });
}
