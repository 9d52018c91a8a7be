import { conformance } from "./conformance.ts";
import { faultyEngine, localEngine, natsServer, redisCluster, redisServer } from "./engines.ts";

conformance("local", localEngine);
conformance("nats", natsServer, ["nats-server"]);
conformance("redis", redisServer, ["redis-server"]);
conformance("redis cluster", redisCluster, ["redis-server"]);
conformance("faulty", faultyEngine);
