// Runs in Node's loader thread (Node before 22.15): gives every `import` of the SDK the folder of the child's own.

let sdk;

export function initialize(data) {
  sdk = data;
}

export function resolve(name, context, next) {
  return name === sdk.name ? { url: sdk.url, format: "commonjs", shortCircuit: true } : next(name, context);
}
