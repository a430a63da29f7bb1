import { realpathSync } from 'node:fs';
import { detach as detachInstance, listInstances } from '../bpf/instance.js';
import { MeshtapError } from '../errors.js';
import { cgroupsOf, forget, namesOf, socketOf } from './runtime-files.js';

export interface DetachOptions {
  instance?: string;
  cgroup?: string;
}

/** `meshtap detach`: ends pinned instances, by name or by the cgroup they watch. */
export function detach({ instance, cgroup }: DetachOptions): void {
  if ((instance === undefined) === (cgroup === undefined))
    throw new MeshtapError('USAGE', 'detach takes either --instance or --cgroup');
  const names = instance === undefined ? watching(cgroup as string) : [instance];
  for (const name of names) {
    if (!detachInstance({ instance: name })) throw nothing(`there is no pinned instance ${name}`);
    // No agent runs it: a socket that is there is that of one that was killed.
    for (const file of [cgroupsOf(name), namesOf(name), socketOf(name)]) forget(file);
    process.stdout.write(`instance ${name} is detached\n`);
  }
}

function watching(cgroup: string): string[] {
  const names = listInstances()
    .filter((instance) => instance.cgroup === cgroup || instance.cgroup === existing(cgroup))
    .map(({ name }) => name);
  if (names.length === 0) throw nothing(`no pinned instance watches ${cgroup}`);
  return names;
}

/** A cgroup that is gone may still have an instance, under the path it had. */
function existing(path: string): string | undefined {
  try {
    return realpathSync(path);
  } catch {
    return undefined;
  }
}

function nothing(message: string): MeshtapError {
  const names = listInstances().map(({ name, cgroup }) => `${name} (${cgroup})`);
  const hint = names.length
    ? `Pinned on this machine: ${names.join(', ')}`
    : 'Nothing of meshtap is pinned on this machine';
  return new MeshtapError('USAGE', message, { hint });
}
