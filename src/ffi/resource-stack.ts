interface Closeable {
  close(): void;
}

/** Owns resources and closes them last in, first out. (DisposableStack is not in Node 20.) */
export class ResourceStack implements Disposable {
  private resources: Closeable[] = [];

  /** Takes ownership of `resource`, and returns it. */
  use<Resource extends Closeable>(resource: Resource): Resource {
    this.resources.push(resource);
    return resource;
  }

  /** Hands everything over to a new stack: for a constructor that has succeeded. */
  move(): ResourceStack {
    const successor = new ResourceStack();
    successor.resources = this.resources;
    this.resources = [];
    return successor;
  }

  /** Closes everything; a second call does nothing. */
  close(): void {
    for (let resource = this.resources.pop(); resource; resource = this.resources.pop()) {
      resource.close();
    }
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
