/**
 * A worker's link to its supervisor. The supervisor requests listening, reloads and stops. The worker reports connections.
 * @module
 */
import { executeCommand } from "../admin/api_methods.ts";
import { messageOf, StartError, UsageError } from "../errors.ts";
import type { RunningService } from "../service/running_service.ts";
import type { ConnectionTotals, ListenOrder, WorkerContext } from "../service/worker_context.ts";
import {
  ControlChannel,
  type ServiceDescription,
  type SupervisorMessage,
  type SupervisorRequests,
  type WorkerMessage,
  type WorkerRequests,
} from "./control_channel.ts";
import { formatGreeting, type WorkerParameters } from "./worker_process.ts";

/**
 * Parses the value of the environment variable that the supervisor sets.
 * @throws {UsageError} if the value has another form
 */
export function parseWorkerParameters(text: string): WorkerParameters {
  try {
    const parameters = JSON.parse(text) as Partial<WorkerParameters>;
    const { index, count, control, token } = parameters;
    if (
      typeof index === "number" && typeof count === "number" && typeof control === "string" && typeof token === "string"
    ) return parameters as WorkerParameters;
  } catch (error) {
    if (!(error instanceof SyntaxError) && !(error instanceof TypeError)) throw error;
  }
  throw new UsageError("Cannot use WSS_WORKER: only the supervisor (--workers) may set it; unset it");
}

/** The link of this process to its supervisor. */
export class SupervisorLink implements WorkerContext {
  readonly index: number;
  /** The number of workers. */
  readonly count: number;
  readonly relay: string | undefined;
  /** Aborted when the supervisor requests a stop, or has exited. The reason is `followed`, `stop` or `orphaned`. */
  readonly stopped: AbortSignal;
  /** Rejects with a StartError if the supervisor exits before it has let this worker listen. Never resolves. */
  readonly abandoned: Promise<never>;
  readonly #channel: ControlChannel<SupervisorRequests, WorkerRequests, SupervisorMessage, WorkerMessage>;
  readonly #stop = new AbortController();
  readonly #listenRequest = Promise.withResolvers<ListenOrder>();
  #service: RunningService | undefined;
  #heartbeat: ReturnType<typeof setInterval> | undefined;
  onCounts: (others: ConnectionTotals) => void = () => {};

  /** @throws {StartError} if the supervisor cannot be reached */
  static async connect(parameters: WorkerParameters): Promise<SupervisorLink> {
    let connection: Deno.UnixConn;
    try {
      connection = await Deno.connect({ transport: "unix", path: parameters.control });
      await connection.write(formatGreeting(parameters.token));
    } catch (error) {
      throw new StartError(`Cannot reach the supervisor: ${messageOf(error)}`, { cause: error });
    }
    return new SupervisorLink(parameters, connection);
  }

  private constructor({ index, count, relay }: WorkerParameters, connection: Deno.Conn) {
    this.index = index;
    this.count = count;
    this.relay = relay;
    this.stopped = this.#stop.signal;
    this.abandoned = this.#listenRequest.promise.then(() => new Promise<never>(() => {}));
    this.abandoned.catch(() => {});
    this.#channel = new ControlChannel<SupervisorRequests, WorkerRequests, SupervisorMessage, WorkerMessage>(
      connection,
      (message) => this.#handleMessage(message),
      {
        load: async ({ tokens }) => ({ changed: await this.#running().credentials.stage(tokens) }),
        bind: () => {
          const { listener, credentials } = this.#running();
          // A worker that started during a reload already has the new certificate.
          listener.bindNext(credentials.staged ?? credentials.material);
        },
        steer: (instructions) => this.#running().listener.steer(instructions ?? undefined),
        emptyQueues: (which) => this.#running().listener.queuesEmptied(which),
        closeSockets: (which) => this.#running().listener.closeSockets(which),
        dropNext: () => this.#running().listener.dropNext(),
        settle: (result) => this.#running().credentials.settle(result),
        call: (command) => executeCommand(this.#running(), command),
        metrics: () => this.#running().metrics(),
        health: () => this.#running().health(),
        certificate: () => {
          const { cert, key } = this.#running().material ?? {};
          return cert === undefined || key === undefined ? undefined : { cert, key };
        },
      },
    );
    void this.#channel.ended.then(() => {
      this.#listenRequest.reject(
        new StartError("Cannot serve: the supervisor has exited, or is of another version: restart the service"),
      );
      if (!this.stopped.aborted) this.#stop.abort("orphaned");
    });
  }

  turnToListen(): Promise<ListenOrder> {
    this.#channel.send({ type: "prepared" });
    return this.#listenRequest.promise;
  }

  groupChanged(change: "lost" | "joined"): void {
    this.#channel.send({ type: "socket", change });
  }

  async reloadAll(tokens: boolean): Promise<void> {
    try {
      await this.#channel.request("reload", { tokens });
    } catch (error) {
      throw new StartError(messageOf(error), { cause: error });
    }
  }

  reportCounts(counts: ConnectionTotals): void {
    this.#channel.send({ type: "counts", counts });
  }

  /**
   * Reports that the service listens. From now on it handles the supervisor's requests.
   * @param timeout milliseconds without a heartbeat after which the supervisor replaces this worker
   */
  listening(service: RunningService, description: ServiceDescription, timeout: number): void {
    this.#service = service;
    this.#channel.send({ type: "listening", service: description });
    this.#heartbeat = setInterval(() => this.#channel.send({ type: "heartbeat" }), timeout / 20);
  }

  /** Asks the supervisor to stop this worker. Its sockets close when new connections go to the other workers. */
  requestStop(): void {
    this.#channel.send({ type: "terminated" });
  }

  /** Ends the connection. */
  close(): void {
    clearInterval(this.#heartbeat);
    this.#channel.close();
  }

  #handleMessage(message: SupervisorMessage): void {
    switch (message.type) {
      case "listen":
        return this.#listenRequest.resolve(message);
      case "counts":
        return this.onCounts(message.counts);
      case "stop":
        return this.#stop.abort(message.followed ? "followed" : "stop");
    }
  }

  #running(): RunningService {
    if (this.#service === undefined) throw new Error("the service is not listening yet");
    return this.#service;
  }
}
