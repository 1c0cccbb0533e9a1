// Reads bankrefresh's events from a durable queue of its own and prints a line for each, without anything secret or personal.
import { parseArgs } from "node:util";

import { fromBinary } from "@bufbuild/protobuf";
import type { Timestamp } from "@bufbuild/protobuf/wkt";
import { type Channel, type ConsumeMessage, connect } from "amqplib";

import {
  FailureReason,
  type RefreshFailed,
  RefreshFailedSchema,
  type TransactionsUpdated,
  TransactionsUpdatedSchema,
  UpdateOrigin,
  UserActionReason,
  type UserActionRequired,
  UserActionRequiredSchema,
} from "./gen/bankrefresh/v1/events_pb.js";

type Event = TransactionsUpdated | UserActionRequired | RefreshFailed;

const SCHEMAS = [TransactionsUpdatedSchema, UserActionRequiredSchema, RefreshFailedSchema];
const ROUTING_KEYS = ["transactions.updated", "user-action.required", "refresh.failed"];
const IDS_MAX = 100_000;
const PREFETCH = 100;

// In memory, so a restart forgets them. A service keeps the id where it keeps what it makes of the event, in one transaction.
const ids = new Set<string>();

function decode(message: ConsumeMessage): Event {
  const kind: unknown = message.properties.type;
  const schema = SCHEMAS.find((schema) => schema.typeName === kind);
  if (schema === undefined) throw new Error(`type ${String(kind)} is no event`);
  return fromBinary<(typeof SCHEMAS)[number]>(schema, message.content);
}

// The text without what commands a terminal, breaks a line or turns its direction, for a line that is printed.
function plain(text: string): string {
  return text.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, "\ufffd");
}

// A number stands for a value that only releases to come have a name for.
function describe(event: Event): string {
  switch (event.$typeName) {
    case "bankrefresh.v1.TransactionsUpdated":
      return (
        `origin=${UpdateOrigin[event.origin] ?? event.origin} ` +
        `new_transactions=${event.newTransactions} part=${event.part} last=${event.last}`
      );
    case "bankrefresh.v1.UserActionRequired":
      // Here the web form would be put before the user. Its URL is a secret: never print it.
      return `reason=${UserActionReason[event.reason] ?? event.reason}`;
    case "bankrefresh.v1.RefreshFailed":
      return (
        `reason=${FailureReason[event.reason] ?? event.reason} ` +
        `finapi_code=${plain(event.finapiCode)} retryable=${event.retryable}`
      );
  }
}

// In memory as well; a service keeps it beside the transactions, and passes it into the connection's next command.
const cursors = new Map<string, bigint>();

// Moves the connection's cursor to what is covered now. Returns from where to ask again where something is missing before.
function advance(event: TransactionsUpdated): bigint | undefined {
  if (!event.last || !event.coveredFrom || !event.coveredUntil) return undefined;
  const connection = `${event.refresh?.bankConnectionId} ${event.refresh?.userId}`;
  const nanoseconds = (at: Timestamp) => at.seconds * 1_000_000_000n + BigInt(at.nanos);
  const [start, end] = [nanoseconds(event.coveredFrom), nanoseconds(event.coveredUntil)];
  const cursor = cursors.get(connection) ?? start;
  if (start > cursor) return cursor;
  cursors.set(connection, end > cursor ? end : cursor);
  return undefined;
}

function handle(event: Event): void {
  const refresh = event.refresh;
  if (!refresh?.eventId) throw new Error("no event_id");
  if (ids.has(refresh.eventId)) {
    console.log(`repeated event_id=${plain(refresh.eventId)}`);
    return;
  }
  const about = `command_id=${plain(refresh.commandId)} connection=${refresh.bankConnectionId}`;
  console.log(`${event.$typeName.split(".").at(-1)} ${about} ${describe(event)} event_id=${plain(refresh.eventId)}`);
  ids.add(refresh.eventId);
  if (event.$typeName === "bankrefresh.v1.TransactionsUpdated") {
    // Here each transaction would be stored by its account and id, in the same transaction as the cursor.
    const missing = advance(event);
    // Here a command would be sent with this as `transactions_since`, and a `max_age`.
    if (missing !== undefined) console.log(`gap connection=${refresh.bankConnectionId} transactions_since=${missing}`);
  }
  for (const oldest of ids) {
    if (ids.size <= IDS_MAX) break;
    ids.delete(oldest);
  }
}

// The queue, and one for what it can't read. The events' exchange is the worker's; it must be there.
async function declare(channel: Channel, queue: string, exchange: string): Promise<void> {
  const deadLetters = `${queue}.dead-letters`;
  await channel.assertQueue(deadLetters, { durable: true, arguments: { "x-queue-type": "quorum" } });
  await channel.assertQueue(queue, {
    durable: true,
    arguments: {
      "x-queue-type": "quorum",
      "x-delivery-limit": 20,
      "x-dead-letter-exchange": "",
      "x-dead-letter-routing-key": deadLetters,
    },
  });
  for (const key of ROUTING_KEYS) await channel.bindQueue(queue, exchange, key);
}

const { values: options } = parseArgs({
  options: {
    url: { type: "string", default: "amqp://guest:guest@127.0.0.1:5672/%2f" },
    prefix: { type: "string", default: "bankrefresh" },
    queue: { type: "string", default: "example-typescript" },
  },
});
const connection = await connect(options.url);
// Without a connection there is nothing to do: end, and be started again.
connection.on("close", () => process.exit(1));
const channel = await connection.createChannel();
await declare(channel, options.queue, `${options.prefix}.events`);
await channel.prefetch(PREFETCH);
console.log(`consuming ${options.queue}`);
await channel.consume(options.queue, (message) => {
  if (message === null) throw new Error(`the queue ${options.queue} is gone`);
  try {
    handle(decode(message));
    channel.ack(message);
  } catch (error) {
    console.log(`unreadable: ${plain(error instanceof Error ? error.message : String(error))}`);
    channel.nack(message, false, false);
  }
});
