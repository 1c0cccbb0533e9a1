// Checks an AsyncAPI document with AsyncAPI's own parser; warnings count.
import { fromFile, Parser } from "@asyncapi/parser";
import { ProtoBuffSchemaParser } from "@asyncapi/protobuf-schema-parser";

const WARNING = 1;
// The document stays with 3.0 on purpose: more tools know it.
const ALLOWED = ["asyncapi-latest-version"];

const parser = new Parser();
parser.registerSchemaParser(ProtoBuffSchemaParser());
const { document, diagnostics } = await fromFile(parser, process.argv[2]).parse();
const faults = diagnostics.filter((found) => found.severity <= WARNING && !ALLOWED.includes(found.code));
for (const fault of faults) {
  console.error(`line ${fault.range.start.line + 1}, ${fault.path.join(".")}: ${fault.message} (${fault.code})`);
}
if (faults.length > 0 || document === undefined) process.exit(1);
const payloads = document.allMessages().all().filter((message) => message.payload()?.properties());
console.log(`${document.allOperations().length} operations, ${payloads.length} messages with a payload`);
