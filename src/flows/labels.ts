/**
 * Kubernetes' label selectors over Cilium's labels
 * (https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors).
 *
 * @module
 */

/** Says whether labels such as `k8s:app=shop` or `reserved:world` fit. */
export type LabelSelector = (labels: readonly string[]) => boolean;

const KEY = '[A-Za-z0-9](?:[A-Za-z0-9._/:-]*[A-Za-z0-9])?';
const VALUE = '[A-Za-z0-9._-]*';
const REQUIREMENT = new RegExp(
  String.raw`^\s*(?:(!)\s*(${KEY})|(${KEY})(?:\s*(==|=|!=)\s*(${VALUE})|\s+(in|notin)\s*\(([^()]*)\))?)\s*$`,
);

/**
 * A selector such as `app=shop,tier!=web`, `app in (a, b)`, `!canary`, `reserved:world`. A key may begin with the source
 * of the label (`k8s:app`); without it, or with `any:`, all sources count. Undefined if it can not be read.
 */
export function labelSelector(text: string): LabelSelector | undefined {
  const requirements: ((labels: ReadonlyMap<string, string>) => boolean)[] = [];
  for (const part of text.split(/,(?![^(]*\))/)) {
    const [, not, absent, present, operator, value, set, list] = REQUIREMENT.exec(part) ?? [];
    const key = (absent ?? present)?.replace(/^any:/, '');
    if (key === undefined) return undefined;
    const values = new Set(list === undefined ? [value ?? ''] : list.split(',').map((one) => one.trim()));
    if (not) requirements.push((labels) => !labels.has(key));
    else if (operator === '!=' || set === 'notin')
      requirements.push((labels) => !values.has(labels.get(key) as string));
    else if (operator || set) requirements.push((labels) => values.has(labels.get(key) as string));
    else requirements.push((labels) => labels.has(key));
  }
  return (labels) => {
    const map = byKey(labels);
    return requirements.every((fits) => fits(map));
  };
}

/** Each label with its source and without. */
function byKey(labels: readonly string[]): ReadonlyMap<string, string> {
  const map = new Map<string, string>();
  for (const label of labels) {
    const [, key = label, value = ''] = /^([^=]*)=(.*)$/s.exec(label) ?? [];
    map.set(key, value);
    map.set(key.replace(/^[^:]*:/, ''), value);
  }
  return map;
}
