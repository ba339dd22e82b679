#ifndef PENSTOCK_KERNELS_CUDA_EMULATOR_SHARED_POINTER_H
#define PENSTOCK_KERNELS_CUDA_EMULATOR_SHARED_POINTER_H

#include <type_traits>

#include "emulated_thread.h"

/* k_sptr: a pointer into a shared array that knows the array's ends, and whose accesses are looked at. */

template <class T> struct k_sref {
    T *p;
    uint32_t begin, end;

    operator std::remove_const_t<T>() const
    {
        const T *from = p;
        if (emulated_is_checking)
            from = static_cast<const T *>(
                emulated_shared_touch(const_cast<std::remove_const_t<T> *>(p), begin, end,
                                      sizeof(T), alignof(T), SHARED_READ));
        return *from;
    }

    const k_sref &operator=(const T &v) const
    {
        T *to = p;
        if (emulated_is_checking)
            to = static_cast<T *>(
                emulated_shared_touch(p, begin, end, sizeof(T), alignof(T), SHARED_WRITE));
        *to = v;
        return *this;
    }

    const k_sref &operator=(const k_sref &other) const
    {
        return *this = static_cast<T>(other);
    }

    k_sref(T *at, uint32_t array_begin, uint32_t array_end)
        : p(at), begin(array_begin), end(array_end)
    {
    }
    k_sref(const k_sref &) = default;

    template <class V> const k_sref &operator+=(const V &v) const
    {
        return *this = static_cast<T>(static_cast<T>(*this) + v);
    }
    template <class V> const k_sref &operator-=(const V &v) const
    {
        return *this = static_cast<T>(static_cast<T>(*this) - v);
    }
    template <class V> const k_sref &operator*=(const V &v) const
    {
        return *this = static_cast<T>(static_cast<T>(*this) * v);
    }
    template <class V> const k_sref &operator|=(const V &v) const
    {
        return *this = static_cast<T>(static_cast<T>(*this) | v);
    }
};

template <class T> struct k_sptr {
    T *p = nullptr;
    uint32_t begin = 0, end = 0; /* of the array, bytes from the block's first */

    k_sptr() = default;
    k_sptr(T *at, uint32_t array_begin, uint32_t array_end)
        : p(at), begin(array_begin), end(array_end)
    {
    }
    operator k_sptr<const T>() const
    {
        return k_sptr<const T>(p, begin, end);
    }

    template <class I> k_sref<T> operator[](I i) const
    {
        return k_sref<T>(at(static_cast<int64_t>(i)), begin, end);
    }
    k_sref<T> operator*() const
    {
        return k_sref<T>(p, begin, end);
    }
    template <class I> k_sptr operator+(I i) const
    {
        return k_sptr(at(static_cast<int64_t>(i)), begin, end);
    }
    template <class I, class = std::enable_if_t<std::is_integral_v<I>>> k_sptr operator-(I i) const
    {
        return k_sptr(at(-static_cast<int64_t>(i)), begin, end);
    }
    int64_t operator-(const k_sptr &other) const
    {
        return p - other.p;
    }
    template <class I> k_sptr &operator+=(I i)
    {
        p = at(static_cast<int64_t>(i));
        return *this;
    }
    template <class I> k_sptr &operator-=(I i)
    {
        p = at(-static_cast<int64_t>(i));
        return *this;
    }
    k_sptr &operator++()
    {
        return *this += 1;
    }
    bool operator==(const k_sptr &other) const
    {
        return p == other.p;
    }
    bool operator!=(const k_sptr &other) const
    {
        return p != other.p;
    }
    bool operator<(const k_sptr &other) const
    {
        return p < other.p;
    }

  private:
    /* By number: a pointer far outside of the array is reported when it is used, not undefined before. */
    T *at(int64_t i) const
    {
        return reinterpret_cast<T *>(reinterpret_cast<uintptr_t>(p) +
                                     static_cast<uintptr_t>(i) * sizeof(T));
    }
};

template <class U, class T> static inline k_sptr<U> k_sptr_cast(k_sptr<T> s)
{
    return k_sptr<U>(reinterpret_cast<U *>(const_cast<std::remove_const_t<T> *>(s.p)), s.begin,
                     s.end);
}

template <class T> static inline k_sptr<T> emulated_shared(const void *key, uint64_t count)
{
    static_assert(std::is_trivially_copyable_v<T>, "shared memory holds plain values");
    struct shared_array array = emulated_shared_array(key, count * sizeof(T));
    return k_sptr<T>(reinterpret_cast<T *>(emulated_current->block->shared + array.begin),
                     array.begin, array.end);
}

#endif
