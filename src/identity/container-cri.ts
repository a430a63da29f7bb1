import { type Client, credentials, loadPackageDefinition, type ServiceError, status } from '@grpc/grpc-js';
import { fromJSON } from '@grpc/proto-loader';
import type { Container, ContainerEngine } from './container-engine.js';

/** How long an answer may take, milliseconds. */
const TIMEOUT = 10_000;

const text = (id: number) => ({ type: 'string', id });
const message = (type: string, id: number) => ({ type, id });
const list = (type: string, id: number) => ({ rule: 'repeated', type, id });
const method = (requestType: string, responseType: string) => ({ requestType, responseType, comment: '' });
const map = (id: number) => ({ keyType: 'string', type: 'string', id });

/** What is used of k8s.io/cri-api, `pkg/apis/runtime/v1/api.proto`: names, types and numbers are its own. */
const runtime = {
  RuntimeService: {
    methods: {
      ListContainers: method('ListContainersRequest', 'ListContainersResponse'),
      ListPodSandbox: method('ListPodSandboxRequest', 'ListPodSandboxResponse'),
    },
  },
  ListContainersRequest: { fields: { filter: message('ContainerFilter', 1) } },
  ContainerFilter: { fields: { id: text(1) } },
  ListContainersResponse: { fields: { containers: list('Container', 1) } },
  Container: {
    fields: {
      id: text(1),
      podSandboxId: text(2),
      metadata: message('ContainerMetadata', 3),
      image: message('ImageSpec', 4),
      labels: map(8),
    },
  },
  ContainerMetadata: { fields: { name: text(1) } },
  ImageSpec: { fields: { image: text(1) } },
  ListPodSandboxRequest: { fields: { filter: message('PodSandboxFilter', 1) } },
  PodSandboxFilter: { fields: { id: text(1) } },
  ListPodSandboxResponse: { fields: { items: list('PodSandbox', 1) } },
  PodSandbox: {
    fields: { id: text(1), metadata: message('PodSandboxMetadata', 2), labels: map(5), annotations: map(6) },
  },
  PodSandboxMetadata: { fields: { name: text(1), uid: text(2), namespace: text(3) } },
};

interface ById {
  readonly filter: { readonly id: string };
}

interface Sandbox {
  readonly id: string;
  readonly metadata?: { readonly name: string; readonly namespace: string } | null;
  readonly labels: Record<string, string>;
  readonly annotations: Record<string, string>;
}

interface Listed {
  readonly id: string;
  readonly podSandboxId: string;
  readonly metadata?: { readonly name: string } | null;
  readonly image?: { readonly image: string } | null;
}

type Method<Answer> = (
  request: ById,
  options: { deadline: number },
  done: (error: ServiceError | null, answer?: Answer) => void,
) => void;

interface RuntimeClient extends Client {
  listContainers: Method<{ containers: readonly Listed[] }>;
  listPodSandbox: Method<{ items: readonly Sandbox[] }>;
}

/** containerd, CRI-O and whatever else the kubelet talks to, by the Container Runtime Interface at a unix socket. */
export function criEngine(socketPath: string): ContainerEngine {
  const definition = fromJSON(
    { nested: { runtime: { nested: { v1: { nested: runtime } } } } },
    { defaults: true },
  );
  const { v1 } = loadPackageDefinition(definition).runtime as unknown as {
    v1: { RuntimeService: new (...args: ConstructorParameters<typeof Client>) => RuntimeClient };
  };
  // The path of the socket is no authority that Go's HTTP/2 servers take.
  const options = { 'grpc.default_authority': 'localhost' };
  const client = new v1.RuntimeService(`unix://${socketPath}`, credentials.createInsecure(), options);

  const call = <Answer>(method: Method<Answer>, id: string) =>
    new Promise<Answer | undefined>((resolve, reject) => {
      method.call(client, { filter: { id } }, { deadline: Date.now() + TIMEOUT }, (error, answer) => {
        // A runtime whose Kubernetes part is switched off, as it is under Docker.
        if (error?.code === status.UNIMPLEMENTED) resolve(undefined);
        else if (error) reject(error);
        else resolve(answer);
      });
    });

  return {
    async ask(id) {
      const found = await call(client.listContainers, id);
      const container = found?.containers.find((each) => each.id === id);
      const sandboxId = container?.podSandboxId ?? id;
      const sandboxes = await call(client.listPodSandbox, sandboxId);
      const sandbox = sandboxes?.items.find((each) => each.id === sandboxId);
      return sandbox && containerOf(container, sandbox);
    },
    [Symbol.dispose]: () => client.close(),
  };
}

/** A sandbox has a cgroup too, and holds the pod's network. */
function containerOf(container: Listed | undefined, { metadata, labels, annotations }: Sandbox): Container {
  return {
    name: container?.metadata?.name ?? '',
    image: container?.image?.image ?? '',
    labels,
    pod: { name: metadata?.name ?? '', namespace: metadata?.namespace ?? '', annotations },
  };
}
