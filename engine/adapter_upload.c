#include "adapter_upload.h"

#include "check.h"

bool adapter_upload_is_ordered(const engine *e)
{
    return atomic_load_explicit(&e->upload.is_ordered, memory_order_acquire);
}

bool adapter_upload_turn(engine *e)
{
    if (!adapter_upload_is_ordered(e))
        return false;
    bool has_failed = e->failure != STATUS_OK;
    bool is_asleep = engine_sleep_level(e) > 0; /* its device's memory is others' */
    if (!has_failed && !is_asleep && !model_adapter_upload(e->model, e->upload.adapter))
        return true;
    atomic_store_explicit(&e->upload.is_ordered, false, memory_order_relaxed);
    opening_tell(&e->upload.done, has_failed ? STATUS_CLOSED : STATUS_OK);
    return true;
}

void adapter_upload_rest(engine *e, model_adapter *adapter)
{
    while (!model_adapter_upload(e->model, adapter))
        continue;
}

status adapter_upload(engine *e, model_adapter *adapter)
{
    int rc = pthread_mutex_lock(&e->upload.lock);
    CHECK(rc == 0);
    e->upload.adapter = adapter;
    atomic_store_explicit(&e->upload.done.is_over, false, memory_order_relaxed);
    atomic_store_explicit(&e->upload.is_ordered, true, memory_order_release);
    parking_signal(&e->step_parking);
    status s = opening_wait(&e->upload.done, NULL);
    rc = pthread_mutex_unlock(&e->upload.lock);
    CHECK(rc == 0);
    if (s == STATUS_OK)
        model_adapter_trim(adapter);
    return s;
}
