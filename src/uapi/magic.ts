/** statfs.f_type of the file systems that guest memory may lie on: include/uapi/linux/magic.h. */

export const TMPFS_MAGIC = 0x01021994;
export const HUGETLBFS_MAGIC = 0x958458f6;
