import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import t, { type Test } from 'tap';
import { ACPI_ADDRESS, buildAcpiTables } from '../../src/machine/acpi-tables.js';
import { FIRMWARE_END } from '../../src/machine/guest-physical-map.js';
import {
  PM_TIMER_PORT,
  PM1_CONTROL_PORT,
  PM1_EVENT_PORT,
  PM1_EVENT_PORTS,
  SLEEP_TYPE_S5,
} from '../../src/vcpu/pc-port-numbers.js';

t.setTimeout(120_000);
const VCPUS = Array.from({ length: 64 }, (_, index) => index + 1);

/** Tables in guest memory, followed as a kernel does: from the root pointer. */
class Tables {
  private readonly memory: Buffer;
  private readonly address: number;

  constructor(vcpus: number) {
    const { address, data } = buildAcpiTables(vcpus);
    this.address = address;
    this.memory = Buffer.from(data);
  }

  get end(): number {
    return this.address + this.memory.length;
  }

  at(address: number, bytes: number): Buffer {
    const start = address - this.address;
    if (start < 0 || start + bytes > this.memory.length) {
      throw new RangeError(`0x${address.toString(16)} is not in the tables`);
    }
    return this.memory.subarray(start, start + bytes);
  }

  /** A table whose length it says itself. */
  table(address: number): Buffer {
    return this.at(address, this.at(address, 8).readUInt32LE(4));
  }

  get root(): Buffer {
    return this.at(ACPI_ADDRESS, 36);
  }

  get xsdtAddress(): number {
    return Number(this.root.readBigUInt64LE(24));
  }

  /** By signature, with the addresses they were found at. */
  get all(): Map<string, { address: number; table: Buffer }> {
    const found = new Map<string, { address: number; table: Buffer }>();
    const add = (address: number): Buffer => {
      const table = this.table(address);
      found.set(table.toString('latin1', 0, 4), { address, table });
      return table;
    };
    const xsdt = add(this.xsdtAddress);
    for (let at = 36; at < xsdt.length; at += 8) {
      add(Number(xsdt.readBigUInt64LE(at)));
    }
    add(Number(found.get('FACP')!.table.readBigUInt64LE(140)));
    return found;
  }
}

function sum(bytes: Uint8Array): number {
  return bytes.reduce((total, byte) => total + byte, 0) & 0xff;
}

t.test('pointers lead to tables, whose bytes add up to 0', async (t) => {
  for (const vcpus of VCPUS) {
    const tables = new Tables(vcpus);
    const { root, all } = tables;
    const found = [...all.values()].sort((a, b) => a.address - b.address);
    const right =
      root.toString('latin1', 0, 8) === 'RSD PTR ' &&
      root.readUInt8(15) === 2 &&
      root.readUInt32LE(20) === 36 &&
      sum(root.subarray(0, 20)) === 0 &&
      sum(root) === 0 &&
      found.every(({ table }) => sum(table) === 0) &&
      found.every(({ address }, index) => {
        const before = found[index - 1];
        return address >= (before ? before.address + before.table.length : ACPI_ADDRESS + 36);
      });
    t.ok(right, `${vcpus} vCPUs`);
    t.ok(tables.end <= FIRMWARE_END);
    t.strictSame([...all.keys()].sort(), ['APIC', 'DSDT', 'FACP', 'XSDT']);
  }
});

t.test('a kernel that looks for the root pointer finds it', async (t) => {
  t.equal(ACPI_ADDRESS % 16, 0);
  t.ok(ACPI_ADDRESS >= 0xe0000 && ACPI_ADDRESS < FIRMWARE_END);
  t.equal(buildAcpiTables(1).address, ACPI_ADDRESS);
});

t.test('MADT: a local APIC for each vCPU, an I/O APIC, overrides, an NMI', async (t) => {
  for (const vcpus of VCPUS) {
    const madt = new Tables(vcpus).all.get('APIC')!.table;
    const entries: Buffer[] = [];
    for (let at = 44; at < madt.length; at += madt[at + 1]!) {
      entries.push(madt.subarray(at, at + madt[at + 1]!));
    }
    const ofType = (type: number): Buffer[] => entries.filter(([kind]) => kind === type);
    t.equal(
      entries.reduce((bytes, entry) => bytes + entry.length, 44),
      madt.length,
      'entries fill it',
    );
    t.strictSame(
      ofType(0).map((entry) => [entry.length, entry[2], entry[3], entry.readUInt32LE(4)]),
      Array.from({ length: vcpus }, (_, id) => [8, id, id, 1]),
      `${vcpus} vCPUs, which are enabled`,
    );
    t.strictSame(
      ofType(1).map((entry) => [entry.length, entry.readUInt32LE(4), entry.readUInt32LE(8)]),
      [[12, 0xfec0_0000, 0]],
    );
    t.strictSame(
      ofType(2).map((entry) => [entry[3], entry.readUInt32LE(4), entry.readUInt16LE(8)]),
      [
        [0, 2, 0],
        [9, 9, 0x0d],
      ],
      'the timer is at pin 2, ACPI at 9, by level and active high',
    );
    t.strictSame([...ofType(4)[0]!], [4, 6, 0xff, 0, 0, 1]);
    t.equal(entries.length, vcpus + 4);
    t.equal(madt.readUInt32LE(36), 0xfee0_0000);
  }
});

t.test('FADT: the ports that pc-ports.ts answers at', async (t) => {
  const { all } = new Tables(2);
  const fadt = all.get('FACP')!.table;
  t.equal(fadt.length, 276);
  t.equal(fadt.readUInt32LE(40), all.get('DSDT')!.address, 'the old field and the new agree');
  for (const [old, extended, port, bytes] of [
    [56, 148, PM1_EVENT_PORT, PM1_EVENT_PORTS],
    [64, 172, PM1_CONTROL_PORT, 2],
    [76, 208, PM_TIMER_PORT, 4],
  ] as const) {
    t.equal(fadt.readUInt32LE(old), port);
    t.equal(fadt[extended], 1, 'I/O space');
    t.equal(fadt[extended + 1], bytes * 8);
    t.equal(Number(fadt.readBigUInt64LE(extended + 4)), port);
  }
  t.strictSame([...fadt.subarray(88, 92)], [PM1_EVENT_PORTS, 2, 0, 4]);
  t.equal(fadt.readUInt32LE(48), 0, 'no SMI command: always in ACPI mode');
});

t.test('\\_S5 says what to write to switch off', async (t) => {
  const code = new Tables(1).all.get('DSDT')!.table.subarray(36);
  const five = [0x0a, SLEEP_TYPE_S5];
  t.strictSame([...code], [0x08, ...Buffer.from('_S5_'), 0x12, 8, 4, ...five, ...five, 0, 0]);
});

const iasl = spawnSync('iasl', ['-v']).error === undefined;

t.test(
  'the reference compiler takes them apart and puts them together again',
  { skip: iasl ? false : 'needs iasl (package acpica-tools)' },
  async (t) => {
    for (const vcpus of [1, 2, 64]) {
      for (const [signature, { table }] of new Tables(vcpus).all) {
        compilesAgain(t, `${signature.toLowerCase()}-${vcpus}`, table);
      }
    }
  },
);

const directory = t.testdir();

function compilesAgain(t: Test, name: string, table: Buffer): void {
  const path = `${directory}/${name}`;
  writeFileSync(`${path}.aml`, table);
  const run = (...args: string[]): string => {
    const { status, stdout, stderr } = spawnSync('iasl', args, {
      encoding: 'utf8',
      cwd: directory,
    });
    t.equal(status, 0, `iasl ${args.join(' ')}: ${stdout}${stderr}`);
    return stdout + stderr;
  };
  const apart = run('-d', `${path}.aml`);
  t.notMatch(apart, /Error|Warning|checksum/i, name);
  const together = run('-p', `${path}-again`, `${path}.dsl`);
  t.match(together, /Compilation (successful|complete)\. 0 Errors, 0 Warnings/, name);
}
