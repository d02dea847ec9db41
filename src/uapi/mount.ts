/** Mounting without a path (5.2): fsopen(2), fsconfig(2), fsmount(2) of include/uapi/linux/mount.h. */

export const FSOPEN_CLOEXEC = 0x1; // since 5.2

// enum fsconfig_command, since 5.2
export const FSCONFIG_SET_FLAG = 0;
export const FSCONFIG_SET_STRING = 1;
export const FSCONFIG_SET_BINARY = 2;
export const FSCONFIG_SET_PATH = 3;
export const FSCONFIG_SET_PATH_EMPTY = 4;
export const FSCONFIG_SET_FD = 5;
export const FSCONFIG_CMD_CREATE = 6;
export const FSCONFIG_CMD_RECONFIGURE = 7;
export const FSCONFIG_CMD_CREATE_EXCL = 8; // since 6.6 (mem)

export const FSMOUNT_CLOEXEC = 0x1; // since 5.2

export const MOUNT_ATTR_RDONLY = 0x1; // since 5.2
export const MOUNT_ATTR_NOSUID = 0x2; // since 5.2
export const MOUNT_ATTR_NODEV = 0x4; // since 5.2
export const MOUNT_ATTR_NOEXEC = 0x8; // since 5.2
export const MOUNT_ATTR_RELATIME = 0x0; // since 5.2
export const MOUNT_ATTR_NOATIME = 0x10; // since 5.2

export const MOVE_MOUNT_F_EMPTY_PATH = 0x4; // since 5.2
