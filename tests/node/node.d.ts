// The little of Node that shop.ts uses, so that its types need not be installed.
declare const process: { argv: string[] };
