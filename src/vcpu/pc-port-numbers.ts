/** Ports of a PC that its tables tell the guest of, and its devices answer at. */

/** Power management (ACPI): the event block, behind it the control register. */
export const PM1_EVENT_PORT = 0x600;
export const PM1_EVENT_PORTS = 4;
export const PM1_CONTROL_PORT = 0x604;
/** Writing this to the control register, with the sleep type of S5, switches the machine off. */
export const SLEEP_ENABLE = 1 << 13;
export const SLEEP_TYPE_S5 = 5;
/** A free-running counter of 3.579545 MHz, 32 bits. */
export const PM_TIMER_PORT = 0x608;
export const PM_TIMER_HERTZ = 3_579_545;

/** Of the clock's memory: what the index port selects. */
export const CMOS_DATA = 0x71;
