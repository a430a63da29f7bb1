import { expect, test } from 'vitest';
import { nodeOf } from '../../../src/identity/kubernetes-objects.js';

test('a node has its addresses, and the first ones of its pods for itself', () => {
  const node = nodeOf({
    metadata: { name: 'a' },
    spec: { podCIDR: '10.244.3.0/24', podCIDRs: ['10.244.3.0/24', 'fd00:3::/64'] },
    status: {
      addresses: [
        { type: 'InternalIP', address: '192.0.2.1' },
        { type: 'Hostname', address: 'a' },
      ],
    },
  });
  expect(node).toEqual({
    name: 'a',
    addresses: ['192.0.2.1'],
    podPrefixes: ['10.244.3.0/24', 'fd00:3::/64'],
    gateways: ['10.244.3.0', '10.244.3.1', 'fd00:3::', 'fd00:3::1'],
  });
});
