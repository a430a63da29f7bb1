import type { FlowEnd } from './flow.js';

/** Labels that say what an application is called, in this order. */
const APP_LABELS = ['app.kubernetes.io/name', 'k8s-app', 'app', 'name'];

/**
 * Who an end is, by what a flow says of it. A service comes late: flows name it only where its own address was dialled, and
 * one end must not have two names. Pods and addresses are no names: there is no
 * end to them.
 */
export function nameOf({ namespace, service, workloads, labels, identity, names }: FlowEnd) {
  const label = (key: string) => {
    const found = labels.find((one) => one.replace(/^[^:=]*:/, '').startsWith(`${key}=`));
    return found?.slice(found.indexOf('=') + 1);
  };
  const workload = workloads[0]?.name ?? '';
  const app = APP_LABELS.map(label).find(Boolean);
  return {
    service: app || workload || service?.name || reservedName(labels, identity) || names[0] || 'unknown',
    namespace: namespace || (service?.namespace ?? ''),
    workload,
  };
}

const RESERVED: Readonly<Record<number, string>> = {
  1: 'host',
  2: 'world',
  6: 'remote-node',
  7: 'kube-apiserver',
};

const reservedName = (labels: readonly string[], identity: number) =>
  RESERVED[identity] ?? labels.find((label) => label.startsWith('reserved:'))?.slice('reserved:'.length);
