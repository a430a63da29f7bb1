import { accessSync, constants, readdirSync, rmdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';

/** Where agents keep what no reboot needs to survive: root's, or those of a user who may not write there. */
const FOLDER = mayWrite('/run/meshtap')
  ? '/run/meshtap'
  : join(process.env.XDG_RUNTIME_DIR ?? `/run/user/${process.getuid?.()}`, 'meshtap');
const SOCKET = '.sock';

function mayWrite(folder: string): boolean {
  if (process.getuid?.() === 0) return true;
  try {
    accessSync(folder, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

/** The socket at which an agent tells how it is. */
export const socketOf = (name: string): string => join(FOLDER, `${name}${SOCKET}`);

/** The socket at which an agent gives flows, in Hubble's API. */
export const flowsOf = (instance: string): string => join(FOLDER, `${instance}.flows`);

/** The names of the cgroups that an instance has seen. */
export const cgroupsOf = (instance: string): string => join(FOLDER, `${instance}.cgroups`);

/** What an instance's pods and containers were called. */
export const namesOf = (instance: string): string => join(FOLDER, `${instance}.names`);

/** Names of all sockets that are there, of the dead too. */
export function socketNames(): string[] {
  try {
    const files = readdirSync(FOLDER);
    return files.filter((file) => file.endsWith(SOCKET)).map((file) => file.slice(0, -SOCKET.length));
  } catch {
    return [];
  }
}

/** Removes a file, and the folder if it was the last one. */
export function forget(file: string): void {
  rmSync(file, { force: true });
  try {
    rmdirSync(FOLDER);
  } catch {
    // Others need it, or it was never there.
  }
}
