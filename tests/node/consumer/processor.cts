// The same types from CommonJS.
import sdk = require("@jobhost/sdk");

const handler: sdk.DefinedHandler<{ a: number }, number> = sdk.defineHandler<{ a: number }, number>({}, (job) => job.data.a);

export = handler;
