/** What an engine says of one of its containers. */
export interface Container {
  /** As people call it: `web`, or the container's name within its pod. */
  readonly name: string;
  /** As it was asked for: `docker.io/library/nginx:1.25`. */
  readonly image: string;
  /** The container's labels, or those of its pod. */
  readonly labels: Readonly<Record<string, string>>;
  /** Of a container in a pod of Kubernetes. */
  readonly pod?: {
    readonly name: string;
    readonly namespace: string;
    readonly annotations: Readonly<Record<string, string>>;
  };
}

/** Who runs containers, and can be asked about one. One file for each kind of interface. */
export interface ContainerEngine extends Disposable {
  /** By its full id; undefined if it has no such container. Rejects if it can not be asked. */
  ask(id: string): Promise<Container | undefined>;
}
