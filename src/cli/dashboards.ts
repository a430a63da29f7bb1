import { cpSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

export interface DashboardsOptions {
  /** `otel`, `hubble` or `istio`: what the agents that are looked at export. */
  dialect: string;
  /** Directory; made if it is not there. */
  out: string;
}

/** What comes with the package; `dashboards/src` makes it. */
const SHIPPED = fileURLToPath(new URL('../../dashboards/', import.meta.url));

/** Where `provisioning/dashboards/meshtap.yaml` has the place of the dashboards. */
const PLACE = '/var/lib/grafana/dashboards/meshtap';

/** What the user is meant to change. */
const YOURS = /^(rules\/meshtap-objectives\.yaml|provisioning\/.*\.ya?ml)$/;

/**
 * `meshtap dashboards`: writes the Grafana dashboards, the Prometheus rules and the provisioning for a dialect. What
 * the user is meant to change (objectives, provisioning) is left alone where it is there already.
 */
export function dashboards({ dialect, out }: DashboardsOptions): void {
  const directory = resolve(out);
  const copy = (from: string, to: string) =>
    cpSync(join(SHIPPED, from), join(directory, to), {
      recursive: true,
      filter: (_, target) => !(YOURS.test(relative(directory, target)) && existsSync(target)),
    });
  const provider = join(directory, 'provisioning/dashboards/meshtap.yaml');
  const isNew = !existsSync(provider);
  copy(dialect, '.');
  copy('provisioning', 'provisioning');
  if (isNew) {
    const text = readFileSync(provider, 'utf8');
    writeFileSync(provider, text.replace(PLACE, join(directory, 'dashboards')));
  }
  process.stdout.write(
    `${[
      `${join(directory, 'dashboards')}: for Grafana, 10.0 and later`,
      `${join(directory, 'rules')}: for Prometheus; the dashboards stand on them`,
      `${join(directory, 'rules/meshtap-objectives.yaml')}: what your services promise, yours to change`,
      `${join(directory, 'provisioning')}: how to tell Grafana and Prometheus`,
    ].join('\n')}\n`,
  );
}
