/**
 * What the demo consists of. The schedule of failures is fixed, so that what meshtap shows can be checked.
 *
 * @module
 */

export interface ServiceOrders {
  /** URLs asked for each request. */
  readonly calls: readonly string[];
  readonly failEvery?: { readonly requests: number; readonly status: number };
  readonly slowEvery?: { readonly requests: number; readonly milliseconds: number };
}

export interface LoadOrders {
  readonly url: string;
  readonly perSecond: number;
}

export interface Service extends Omit<ServiceOrders, 'calls'> {
  readonly name: string;
  /** Names of services, which come before this one in the list. */
  readonly calls: readonly string[];
}

/** In the order in which they can start. */
export const SERVICES: readonly Service[] = [
  { name: 'details', calls: [] },
  {
    name: 'ratings',
    calls: [],
    failEvery: { requests: 25, status: 503 },
    slowEvery: { requests: 40, milliseconds: 300 },
  },
  { name: 'reviews', calls: ['ratings'], failEvery: { requests: 50, status: 500 } },
  { name: 'productpage', calls: ['details', 'reviews'] },
];

export const LOAD = { name: 'load', calls: 'productpage', perSecond: 50 } as const;
